//! Peers with good tickets and bad intentions: a client that leaves the binding out, one that
//! repeats another's token, and somebody in the middle.

use std::sync::Arc;

use farshore_kdc::principal_of;
use farshore_kerberos::{
    Binding, HEAD_BYTES, Head, Initiator, Mechanism, Message,
    bug::{Bug, plant},
};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::{TlsAcceptor, TlsConnector, client::TlsStream};
use tokio_util::task::AbortOnDropHandle;

use super::{
    in_realm,
    place::{TARGET, Target, connect, gss, why},
};
use crate::world::a_day;

const PROTOCOL: &[u8] = b"farshore-kerberos/1";

/// Takes any certificate, as whoever is in the middle does.
#[derive(Debug)]
struct Anybody;

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        aws_lc_rs::default_provider().signature_verification_algorithms.supported_schemes()
    }
}

async fn tls_to(address: &str) -> TlsStream<TcpStream> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody))
        .with_no_client_auth();
    config.alpn_protocols = vec![PROTOCOL.to_vec()];
    let tcp = TcpStream::connect(address).await.unwrap();
    let name = ServerName::try_from(TARGET).unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, tcp).await.unwrap()
}

fn binding_of(tls: &ClientConnection) -> Binding {
    Binding(tls.export_keying_material([0; 32], b"EXPORTER-farshore-kerberos-binding", None).unwrap())
}

async fn send(tls: &mut TlsStream<TcpStream>, message: &Message) {
    tls.write_all(&message.encode().unwrap()).await.unwrap();
    tls.flush().await.unwrap();
}

async fn receive(tls: &mut TlsStream<TcpStream>) -> Message {
    let mut head = [0; HEAD_BYTES];
    tls.read_exact(&mut head).await.unwrap();
    let head = Head::parse(head).unwrap();
    let mut content = vec![0; head.content_len()];
    tls.read_exact(&mut content).await.unwrap();
    Message::parse(head, content).unwrap()
}

/// A token of the source for the target, good in every way.
async fn token(tls: &TlsStream<TcpStream>) -> (Initiator, Message) {
    let binding = binding_of(tls.get_ref().1);
    let begin = || Initiator::begin(&gss("source.example"), &principal_of(TARGET).parse().unwrap(), binding);
    begin().unwrap()
}

fn refusal(message: Message) -> String {
    let Message::Refusal { what, .. } = message else { panic!("{message:?}") };
    what
}

#[test]
fn a_client_that_leaves_the_binding_out_is_refused() {
    in_realm(async {
        let target = Target::start().await;
        let mut tls = tls_to(&target.address).await;
        let (_, hello) = token(&tls).await;
        send(&mut tls, &hello).await;
        assert!(matches!(receive(&mut tls).await, Message::Token(_)), "its ticket is good");
        // It goes on as if that were all: what follows is no binding.
        let (_, again) = token(&tls).await;
        send(&mut tls, &again).await;
        assert!(refusal(receive(&mut tls).await).contains("did not bind Kerberos to this connection"));
        assert!(target.memory.callers().is_empty());
    });
}

#[test]
fn the_library_itself_would_take_it() {
    in_realm(async {
        // Why the binding is shown outside of the library's own: it takes a context whose
        // initiator named no channel. Here the deliberate bug trusts the library.
        let _bug = plant(Bug::BindingLeftOut);
        let target = Target::start().await;
        let mut tls = tls_to(&target.address).await;
        let (_, hello) = token(&tls).await;
        send(&mut tls, &hello).await;
        assert!(matches!(receive(&mut tls).await, Message::Token(_)));
        let hello = farshore_wire::Source::new(farshore_wire::Hello {
            versions: farshore_wire::Versions::OURS,
            machine: crate::world::MACHINE,
            machine_name: "web1".to_owned(),
            epoch: crate::world::EPOCH,
            agent: "stripped".to_owned(),
            resume: None,
        })
        .connect();
        for part in hello.parts {
            tls.write_all(&part).await.unwrap();
        }
        tls.flush().await.unwrap();
        let mut answer = [0; 1];
        tls.read_exact(&mut answer).await.unwrap();
        assert_eq!(target.memory.callers().len(), 1, "without the check it is let in: the test would see it");
    });
}

#[test]
fn a_token_that_was_seen_before_is_refused() {
    in_realm(async {
        let target = Target::start().await;
        let mut tls = tls_to(&target.address).await;
        let (_, hello) = token(&tls).await;
        send(&mut tls, &hello).await;
        assert!(matches!(receive(&mut tls).await, Message::Token(_)));
        // Somebody has read it, and sends it over a connection of his own.
        let mut own = tls_to(&target.address).await;
        send(&mut own, &hello).await;
        assert!(refusal(receive(&mut own).await).contains("this token was seen before"));
    });
}

#[test]
fn tokens_that_are_none_and_too_long_ones_are_refused() {
    in_realm(async {
        let target = Target::start().await;
        let accepts = gss(TARGET).accept().is_ok();
        assert!(accepts);
        for rubbish in [vec![0; 1], vec![0x60; 700], b"GET / HTTP/1.1\r\n\r\n".to_vec()] {
            let mut tls = tls_to(&target.address).await;
            send(&mut tls, &Message::Token(rubbish)).await;
            let what = refusal(receive(&mut tls).await);
            assert!(what.contains("handshake is broken") || what.contains("does not work"), "{what}");
        }
        let mut tls = tls_to(&target.address).await;
        tls.write_all(&[1, 0xff, 0xff, 0xff, 0x7f]).await.unwrap();
        tls.flush().await.unwrap();
        assert!(refusal(receive(&mut tls).await).contains("bytes, at most 65536 are taken"));
        let mut tls = tls_to(&target.address).await;
        let (_, hello) = token(&tls).await;
        let Message::Token(bytes) = hello else { panic!() };
        send(&mut tls, &Message::Token(bytes[..bytes.len() / 2].to_vec())).await;
        refusal(receive(&mut tls).await);
        assert!(target.memory.callers().is_empty());
    });
}

/// Ends TLS towards the source, begins it towards the target, and passes all on.
async fn middleman(target: String) -> (String, AbortOnDropHandle<()>) {
    let made = farshore_pki::Authority::create("middle").unwrap().issue(TARGET, &[], a_day()).unwrap();
    let cert = CertificateDer::from_pem_slice(made.cert_pem.as_bytes()).unwrap();
    let key = PrivateKeyDer::from_pem_slice(made.key_pem.as_bytes()).unwrap();
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![cert], key)
        .unwrap();
    config.alpn_protocols = vec![PROTOCOL.to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let relay = async move {
        while let Ok((tcp, _)) = listener.accept().await {
            let (acceptor, target) = (acceptor.clone(), target.clone());
            tokio::spawn(async move {
                let mut near = acceptor.accept(tcp).await.unwrap();
                let mut far = tls_to(&target).await;
                copy_bidirectional(&mut near, &mut far).await.ok();
            });
        }
    };
    (address, AbortOnDropHandle::new(tokio::spawn(relay)))
}

#[test]
fn somebody_in_the_middle_is_found_out() {
    in_realm(async {
        let target = Target::start().await;
        let (address, _relay) = middleman(target.address.clone()).await;
        let through = || connect(&address, "source.example", "farshore/target.example@FARSHORE.TEST");
        let error = through().await.unwrap_err();
        assert!(why(&error).0.contains("bound to another connection"), "{error}");
        assert!(target.memory.callers().is_empty());
        let bug = plant(Bug::BindingNotChecked);
        through().await.unwrap();
        assert_eq!(target.memory.callers().len(), 1, "without the check nobody would have seen him");
        drop(bug);
        through().await.unwrap_err();
    });
}

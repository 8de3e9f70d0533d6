//! By e-mail: all that waits goes into one message, so that a site that is lost does not
//! fill a mailbox. The password is read from its file for every message.

use async_trait::async_trait;
use farshore_health::Level;
use farshore_vault::rows::NoticeRow;
use lettre::{
    AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor,
    message::{Mailbox, header::ContentType},
    transport::smtp::{
        authentication::Credentials,
        client::{Certificate, CertificateStore, Tls, TlsParameters},
    },
};

use super::{
    Channel,
    config::{EmailConfig, Security, secret},
    text,
};
use crate::ProgramError;

/// Its name as a channel.
const NAME: &str = "email";
/// Most notices in one message.
const MOST: usize = 200;

pub(super) struct Email {
    config: EmailConfig,
    from: Mailbox,
    to: Vec<Mailbox>,
}

impl Email {
    pub(super) fn new(config: &EmailConfig) -> Result<Email, ProgramError> {
        let advice = "write addresses as name@example or Name <name@example>, in [alerts.email]";
        let mailbox = |text: &String| {
            let parsed = text.parse::<Mailbox>();
            parsed.map_err(|e| ProgramError::usage(format!("'{text}' is no address: {e}"), advice))
        };
        if config.server.is_empty() || config.to.is_empty() {
            return Err(ProgramError::usage("[alerts.email] names no server, or nobody in `to`", advice));
        }
        if config.user.is_some() != config.password_file.is_some() {
            let what = "[alerts.email] names a user without a password_file, or the other way round";
            return Err(ProgramError::usage(what, "give both, or neither"));
        }
        let to = config.to.iter().map(mailbox).collect::<Result<_, _>>()?;
        Ok(Email { config: config.clone(), from: mailbox(&config.from)?, to })
    }

    fn transport(&self) -> Result<AsyncSmtpTransport<Tokio1Executor>, String> {
        let config = &self.config;
        let tls = || {
            let mut parameters = TlsParameters::builder(config.server.clone());
            if let Some(path) = &config.ca_file {
                let pem = std::fs::read(path).map_err(|e| format!("cannot read {}: {e}", path.display()))?;
                let certificate =
                    Certificate::from_pem(&pem).map_err(|e| format!("{}: {e}", path.display()))?;
                parameters =
                    parameters.certificate_store(CertificateStore::None).add_root_certificate(certificate);
            }
            parameters.build().map_err(|error| told(&error))
        };
        let (tls, port) = match config.security {
            Security::Starttls => (Tls::Required(tls()?), 587),
            Security::Tls => (Tls::Wrapper(tls()?), 465),
            Security::Plain => (Tls::None, 25),
        };
        let builder = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(&config.server);
        let mut builder = builder.port(config.port.unwrap_or(port)).tls(tls);
        if let (Some(user), Some(path)) = (&config.user, &config.password_file) {
            builder = builder.credentials(Credentials::new(user.clone(), secret(path)?));
        }
        Ok(builder.build())
    }

    async fn mail(&self, id: &str, title: &str, body: String) -> Result<(), String> {
        let mut message = Message::builder()
            .from(self.from.clone())
            // A message that is sent again has the same id: mail servers know it by that.
            .message_id(Some(format!("<{id}@farshore>")))
            .subject(title.replace(['\r', '\n'], " "))
            .header(ContentType::TEXT_PLAIN);
        for to in &self.to {
            message = message.to(to.clone());
        }
        let message = message.body(body).map_err(|e| format!("the message cannot be made: {e}"))?;
        self.transport()?.send(message).await.map(drop).map_err(|error| told(&error))
    }
}

fn told(error: &lettre::transport::smtp::Error) -> String {
    let cause = std::error::Error::source(error).map(|cause| format!(": {cause}")).unwrap_or_default();
    format!("{error}{cause}")
}

#[async_trait]
impl Channel for Email {
    fn name(&self) -> &str {
        NAME
    }

    fn least(&self) -> Level {
        self.config.least.level()
    }

    fn most(&self) -> usize {
        MOST
    }

    async fn send(&self, notices: &[NoticeRow]) -> Result<(), String> {
        let id = notices.first().map(|row| row.id.to_string()).unwrap_or_default();
        self.mail(&id, &text::title(notices), text::body(notices)).await
    }

    async fn test(&self) -> Result<(), String> {
        let (id, body) =
            (uuid::Uuid::new_v4().to_string(), "This is a test: alerts of this vault come here.\n");
        self.mail(&id, "[farshore] test", body.to_owned()).await
    }
}

//! The server and its database. This module must never know what is tested with it.

use std::{
    env,
    ffi::{OsStr, OsString},
    fs,
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use farshore_sim::free_port;
use tempfile::TempDir;

use crate::{HOSTS, KEYLESS, PART, PLACE, REALM, environment, principal_of};

/// Name of the keytab with the keys of [`HOSTS`].
pub(crate) const KEYTAB: &str = "hosts.keytab";
/// Name of the directory in which the library keeps what it has seen.
pub(crate) const REPLAYS: &str = "replays";
const CONFIG: &str = "krb5.conf";
const SERVER_CONFIG: &str = "kdc.conf";
/// Where Debian has the server's programs; they are in no user's path.
const PROGRAMS: &str = "/usr/sbin";
/// Longest wait for the server.
const START: Duration = Duration::from_secs(20);

/// A realm and its server, for as long as this lives.
pub struct Realm {
    dir: TempDir,
    server: Option<Child>,
}

impl Realm {
    /// Starts it.
    ///
    /// # Panics
    /// Where the server's packages are not installed, or it does not start.
    #[must_use]
    pub fn start() -> Realm {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path();
        fs::create_dir(place.join(REPLAYS)).unwrap();
        let port = free_port();
        fs::write(place.join(CONFIG), client_config(port)).unwrap();
        fs::write(place.join(SERVER_CONFIG), server_config(place, port)).unwrap();
        let mut realm = Realm { dir, server: None };
        realm.run("kdb5_util", &["create", "-s", "-P", "test", "-r", REALM]);
        for host in HOSTS.into_iter().chain([KEYLESS]) {
            realm.run("kadmin.local", &["-q", &format!("addprinc -randkey {}", principal_of(host))]);
        }
        let keytab = realm.path().join(KEYTAB);
        for host in HOSTS {
            let query = format!("ktadd -k {} {}", keytab.display(), principal_of(host));
            realm.run("kadmin.local", &["-q", &query]);
        }
        realm.server = Some(realm.command("krb5kdc").arg("-n").spawn().unwrap());
        realm.wait_for(port);
        realm
    }

    /// Its directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Ends the server; tickets that were had before go on being good.
    pub fn stop(&mut self) {
        if let Some(mut server) = self.server.take() {
            server.kill().ok();
            server.wait().ok();
        }
    }

    /// The variables that a process needs to be in the realm.
    #[must_use]
    pub fn variables(&self) -> Vec<(&'static str, OsString)> {
        let mut variables = environment(self.path()).variables().to_vec();
        variables.push(("KRB5_CONFIG", self.path().join(CONFIG).into()));
        variables
    }

    /// The variables of a process that plays a part in the realm.
    #[must_use]
    pub fn second_run(&self, part: &str) -> Vec<(&'static str, OsString)> {
        let mut variables = self.variables();
        variables.extend([(PLACE, self.path().into()), (PART, part.into())]);
        variables
    }

    /// The running test once more, to play a part in the realm; `with` are further variables.
    ///
    /// # Panics
    /// Where it runs outside of a test.
    #[must_use]
    pub fn again(&self, part: &str, with: &[(&'static str, OsString)]) -> Command {
        let test = thread::current().name().expect("a test's thread has its name").to_owned();
        let mut command = Command::new(env::current_exe().unwrap());
        command.args(["--exact", &test, "--nocapture", "--test-threads=1"]);
        command.envs(self.second_run(part)).envs(with.iter().cloned());
        command
    }

    /// Runs the test's one part in the realm.
    ///
    /// # Panics
    /// Where it fails there.
    pub fn run_again(&self, with: &[(&'static str, OsString)]) {
        let status = self.again("all", with).status().unwrap();
        assert!(status.success(), "it failed in the realm: {status}");
        self.check_ran("all");
    }

    /// Checks that a part was played.
    ///
    /// # Panics
    /// Where it was not: no such test was found.
    pub fn check_ran(&self, part: &str) {
        assert!(self.path().join(mark_of(part)).exists(), "the test was not found in its second run");
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(PathBuf::from(PROGRAMS).join(program));
        command.env("KRB5_CONFIG", self.path().join(CONFIG));
        command.env("KRB5_KDC_PROFILE", self.path().join(SERVER_CONFIG));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        command
    }

    fn run<A: AsRef<OsStr>>(&self, program: &str, arguments: &[A]) {
        let output = self.command(program).args(arguments).output();
        let output = output.unwrap_or_else(|error| panic!("{program}: {error}; run `make setup`"));
        assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    }

    fn wait_for(&mut self, port: u16) {
        let begun = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            let server = self.server.as_mut().unwrap();
            assert!(server.try_wait().unwrap().is_none(), "the key distribution centre has ended");
            assert!(begun.elapsed() < START, "the key distribution centre does not answer");
            thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Realm {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Name of the file by which a second run is known to have begun.
pub(crate) fn mark_of(part: &str) -> String {
    format!("played-{part}")
}

/// A realm's block must be on lines of its own: in one line it is not read (seen).
fn client_config(port: u16) -> String {
    format!(
        "[libdefaults]\n  default_realm = {REALM}\n  dns_lookup_kdc = false\n  dns_lookup_realm = false\n  \
         dns_canonicalize_hostname = false\n  rdns = false\n  udp_preference_limit = 1\n\
         [realms]\n  {REALM} = {{\n    kdc = 127.0.0.1:{port}\n  }}\n"
    )
}

fn server_config(place: &Path, port: u16) -> String {
    let place = place.display();
    format!(
        "[kdcdefaults]\n  kdc_listen = 127.0.0.1:{port}\n  kdc_tcp_listen = 127.0.0.1:{port}\n\
         [realms]\n  {REALM} = {{\n    database_name = {place}/principal\n    \
         key_stash_file = {place}/stash\n    acl_file = {place}/acl\n    max_life = 1h\n    \
         supported_enctypes = aes256-cts-hmac-sha1-96:normal\n  }}\n\
         [logging]\n  kdc = FILE:{place}/kdc.log\n"
    )
}

//! One request for a key, decided in the original's order (kxd spec 3): the first check that fails
//! answers.

use std::fmt::Write;
use std::time::{Duration, Instant};

use kx_cert::chain_text;
use kx_cert::verify::Chain;
use kx_crypto::secret::SecretBytes;
use kx_http::router::{self, Route};
use kx_http::server::Response;
use kx_log::golog::{Line, Source};

use crate::authz::AllowedClients;
use crate::clock;
use crate::key_store::LookupError;
use crate::log_source as at;
use crate::refusal::Refusal;
use crate::server::{HOOK_QUEUE_WAIT, Peer, Shared};
use crate::tls::ClientCerts;
use crate::{access_log, email, hook};

/// A request as far as the decision needs it, from HTTP/1.1 or HTTP/2.
#[derive(Debug)]
pub(crate) struct Exchange {
    /// For the access log.
    pub(crate) method: String,
    /// For the access log.
    pub(crate) http_version: &'static str,
    /// What the router made of the target.
    pub(crate) route: Route,
}

/// Who asks.
pub(crate) struct Caller<'a> {
    pub(crate) peer: &'a Peer,
    pub(crate) client: Option<&'a ClientCerts>,
    pub(crate) tls_version: &'static str,
}

/// Answers one request. What takes long in here is awaited, and each wait has a limit.
pub(crate) async fn respond(shared: &Shared, caller: &Caller<'_>, exchange: Exchange) -> Response {
    let began = Instant::now();
    let (response, path, reason) = match exchange.route {
        Route::Response(response) => (response, Vec::new(), "router"),
        Route::V1 { path } => {
            let mut request = Request {
                shared,
                caller,
                path: &path,
                lines: Vec::with_capacity(3),
            };
            let decision = Box::pin(request.decide()).await;
            if let Err(refusal) = &decision {
                request.log_refusal(refusal);
            }
            request.write_log();
            match decision {
                Ok(key) => (Response::key(key), path, "ok"),
                Err(refusal) => {
                    let response = Response::error(refusal.status(), refusal.body());
                    (response, path, refusal.reason())
                }
            }
        }
    };
    shared.metrics.request(response.status, began.elapsed());
    if let Some(log) = &shared.access_log {
        log.request(&access_log::Entry {
            time: clock::now(),
            remote: &caller.peer.text,
            method: &exchange.method,
            key_path: router::key_path(&path).ok().as_deref(),
            path: &path,
            status: response.status,
            reason,
            certificate: caller.client.map(|c| &c.leaf),
            tls_version: caller.tls_version,
            http_version: exchange.http_version,
            duration: began.elapsed(),
            bytes: if exchange.method == "HEAD" {
                0
            } else {
                u64::try_from(response.body.as_ref().len()).unwrap_or(u64::MAX)
            },
        });
    }
    response
}

struct Request<'a> {
    shared: &'a Shared,
    caller: &'a Caller<'a>,
    /// Percent-decoded, as received.
    path: &'a [u8],
    /// Log lines to be written together: before anything is waited for, and at the end.
    lines: Vec<Line>,
}

impl Request<'_> {
    async fn decide(&mut self) -> Result<SecretBytes, Refusal> {
        let shared = self.shared;
        let client = self.caller.client.ok_or(Refusal::NoCertificate)?;
        if !shared.limits.allow_request(self.caller.peer.addr.ip()) {
            shared.metrics.rate_limited();
            return Err(Refusal::RateLimit(shared.options.rate_limit));
        }
        let key_path = router::key_path(self.path).map_err(Refusal::InvalidKeyPath)?;
        let dir = match shared.keys.lookup(&key_path) {
            Ok(dir) => dir,
            Err(LookupError::Unknown) => return Err(Refusal::UnknownKey(key_path)),
            Err(source) => return Err(Refusal::CheckingKey { key_path, source }),
        };

        let file = dir.allowed_clients().map_err(Refusal::ReadingCerts)?;
        let allowed = AllowedClients::load(file.as_deref(), client).map_err(Refusal::NoCerts)?;
        if let Some(hosts) = dir.allowed_hosts().map_err(Refusal::LoadingHosts)? {
            // Names are looked up without holding up anybody else; a dead resolver costs this
            // client some seconds.
            if !hosts.allows(&self.caller.peer.host).await {
                return Err(Refusal::HostNotAllowed(self.caller.peer.host.clone()));
            }
        }
        let chains = allowed
            .authorise(&clock::now())
            .map_err(|e| Refusal::CertificateNotAllowed(client.leaf.clone(), e))?;
        let key = dir.key().await.map_err(Refusal::ReadingKey)?;

        self.run_hook(&dir, client, &key_path, &chains).await?;
        self.log(
            at::ALLOWED,
            format_args!("Allowing request to {}", client.shown),
        );
        self.send_mail(&dir, client, &key_path, &chains).await?;
        Ok(key)
    }

    async fn run_hook(
        &mut self,
        dir: &crate::key_store::KeyDir,
        client: &ClientCerts,
        key_path: &[u8],
        chains: &[Chain],
    ) -> Result<(), Refusal> {
        let options = &self.shared.options;
        if options.hook.as_os_str().is_empty() {
            return Ok(());
        }
        if hook::is_absent(&options.hook) {
            self.log(at::HOOK_ABSENT, format_args!("Hook not present, skipping"));
            return Ok(());
        }
        self.write_log();
        let turns = &self.shared.hooks;
        let Some(turn) = turns
            .take(self.caller.peer.addr.ip(), HOOK_QUEUE_WAIT)
            .await
        else {
            return Err(Refusal::HookQueue);
        };
        let began = Instant::now();
        // The original ignores an unreadable email_to here and fails on it later, in the mail.
        let email_to = dir.email_to().unwrap_or_default();
        let request = hook::Request {
            path: &options.hook,
            data_dir: &options.data_dir,
            key_path,
            remote_addr: &self.caller.peer.text,
            mail_from: &options.email_from,
            email_to: &email_to,
            client: &client.leaf,
            chains,
        };
        // The turn goes along: a client that hangs up does not make room for another hook while
        // its own still runs.
        let verdict = hook::run_holding(&request, turn).await;
        self.shared
            .metrics
            .hook_ran(began.elapsed(), verdict.is_err());
        verdict.map_err(Refusal::Hook)
    }

    async fn send_mail(
        &mut self,
        dir: &crate::key_store::KeyDir,
        client: &ClientCerts,
        key_path: &[u8],
        chains: &[Chain],
    ) -> Result<(), Refusal> {
        let options = &self.shared.options;
        if options.smtp_addr.is_empty() {
            self.log(at::MAIL_SKIPPED, format_args!("Skipping notifications"));
            return Ok(());
        }
        self.write_log();
        let email_to = dir.email_to().map_err(Refusal::ReadingEmailTo)?;
        if email_to.is_empty() {
            return Ok(());
        }
        let turns = &self.shared.mails;
        let Some(_turn) = turns
            .take(self.caller.peer.addr.ip(), MAIL_QUEUE_WAIT)
            .await
        else {
            return Err(Refusal::MailQueue);
        };
        let chains: Vec<String> = chains.iter().map(|c| chain_text::chain(c)).collect();
        let notification = email::Notification {
            sender: &options.email_from,
            recipients: &email_to,
            key_path,
            remote_addr: &self.caller.peer.text,
            signature_hex: &client.leaf.signature_hex(),
            subject: &client.leaf.subject_full(),
            chains: &chains,
            time: clock::now(),
        };
        let server = email::MailServer::new(options.smtp_addr.clone());
        let sent = server
            .send(&options.email_from, &email_to, notification.to_bytes())
            .await;
        match sent {
            Ok(()) => {
                self.shared.metrics.mail_sent();
                Ok(())
            }
            Err(e) => {
                self.shared.metrics.mail_failed();
                Err(Refusal::Notification(e))
            }
        }
    }

    fn log(&mut self, source: Source, text: std::fmt::Arguments<'_>) {
        let path = kx_log::goquote::escape_control(self.path);
        let remote = &self.caller.peer.text;
        let usual = remote.len() + path.len() + 64;
        let mut line = String::with_capacity(usual);
        for part in [remote.as_str(), " ", &path, " "] {
            line.push_str(part);
        }
        // Writing to a String does not fail.
        let _ = line.write_fmt(text);
        self.lines.push(Line::new(source, line));
    }

    fn write_log(&mut self) {
        self.shared.log.lines(&self.lines);
        self.lines.clear();
    }

    fn log_refusal(&mut self, refusal: &Refusal) {
        self.log(at::REFUSED, format_args!("{refusal}"));
        if let Refusal::CertificateNotAllowed(cert, why) = refusal {
            self.log(
                at::REFUSED_CERTIFICATE,
                format_args!("  0: {} {why}", cert.short()),
            );
        }
    }
}

/// How long a mail waits for its turn.
const MAIL_QUEUE_WAIT: Duration = Duration::from_secs(60);

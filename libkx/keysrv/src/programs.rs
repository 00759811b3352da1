//! The programs by name (keysrv spec 19.1).

use crate::program::Program;

/// keysrv.
pub const KEYSRV: Program = Program {
    name: "keysrv",
    summary: "change secrets for those who hold a certificate (on descriptor 0)",
    run: crate::keysrv::run,
};

/// logind.
pub const LOGIND: Program = Program {
    name: "logind",
    summary: "give certificates to those who know their secret (on descriptor 0)",
    run: crate::logind::run,
};

/// signer.
pub const SIGNER: Program = Program {
    name: "signer",
    summary: "certify the key of a set-top box (on descriptor 0)",
    run: crate::signer::run,
};

/// countersigner.
pub const COUNTERSIGNER: Program = Program {
    name: "countersigner",
    summary: "give a set-top box its verified certificate (on descriptor 0)",
    run: crate::countersigner::run,
};

/// One row each; also the list that `inferno-auth` alone prints, in this order.
pub const PROGRAMS: &[Program] = &[
    KEYSRV,
    Program {
        name: "keyfs",
        summary: "serve the encrypted data base of secrets",
        run: crate::keyfs::run,
    },
    Program {
        name: "passwd",
        summary: "change one's secret at a keysrv",
        run: crate::passwd::run,
    },
    LOGIND,
    Program {
        name: "createsignerkey",
        summary: "make the key that signs certificates",
        run: crate::createsignerkey::run,
    },
    Program {
        name: "mkauthinfo",
        summary: "make and certify a key for a user",
        run: crate::mkauthinfo::run,
    },
    Program {
        name: "getauthinfo",
        summary: "get a certificate from a logind",
        run: crate::getauthinfo::run,
    },
    Program {
        name: "changelogin",
        summary: "add an account, or change its secret and expiry",
        run: crate::changelogin::run,
    },
    Program {
        name: "convpasswd",
        summary: "take over the accounts of a Third Edition password file",
        run: crate::convpasswd::run,
    },
    Program {
        name: "getpk",
        summary: "print the public keys of authinfo files",
        run: crate::getpk::run,
    },
    Program {
        name: "ai2key",
        summary: "turn authinfo files into lines for factotum",
        run: crate::ai2key::run,
    },
    SIGNER,
    COUNTERSIGNER,
    Program {
        name: "verify",
        summary: "accept what signer has certified",
        run: crate::verify::run,
    },
    Program {
        name: "listen",
        summary: "run a command for every connection to an address",
        run: crate::listen::run,
    },
    Program {
        name: "svc-auth",
        summary: "keyfs and the listeners of the service",
        run: crate::svc_auth::run,
    },
];

/// What `listen` starts for a connection; it is not for anybody else.
static LISTEN_SESSION: Program = Program {
    name: crate::listen_session::NAME,
    summary: "",
    run: crate::listen_session::run,
};

/// The program of that name.
#[must_use]
pub fn find(name: &str) -> Option<&'static Program> {
    let mut all = PROGRAMS.iter().chain([&LISTEN_SESSION]);
    all.find(|program| program.name == name)
}

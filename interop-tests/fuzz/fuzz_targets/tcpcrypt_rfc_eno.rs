//! An ENO option of either kind from a stranger, as the standard reads it: as SYN, as SYN-ACK, and against itself.
#![no_main]
use libfuzzer_sys::fuzz_target;
use tcpcrypt_proto::dialect::{Answering, Policy, answering};
use tcpcrypt_proto::eno::{EnoError, EnoOption, Kind, Tep};
use tcpcrypt_proto::rfc8547::{self, Host, SynForm};
use tcpcrypt_proto::rfc8548::negotiation::{Offer, choose, named, settle};

fuzz_target!(|data: &[u8]| {
    let content = |kind: Kind| EnoOption::of(kind, data);
    let options = [
        EnoOption::parse_any(data),
        EnoOption::find_any(data).and_then(|found| found.ok_or(EnoError::Other)),
        Ok(content(Kind::Standard)),
        Ok(content(Kind::Experimental)),
    ];
    for theirs in options.into_iter().flatten() {
        let kind = theirs.kind();
        assert_eq!(EnoOption::parse_any(theirs.as_bytes()), Ok(theirs));
        let Ok(form) = SynForm::read(&theirs) else {
            assert_eq!(choose(&theirs, &Tep::ALL), None);
            assert_eq!(named(&theirs).count(), 0);
            for ours in options.into_iter().flatten() {
                assert_eq!(settle(true, &ours, &theirs, None), None);
            }
            continue;
        };
        let teps: Vec<_> = form.teps().collect();
        let rebuilt = rfc8547::build(kind, form.global(), &teps).expect("it fitted before");
        let again = SynForm::read(&rebuilt).expect("well-formed");
        assert_eq!(again.global(), form.global());
        assert!(again.teps().eq(teps.iter().copied()));

        for ours in options.into_iter().flatten() {
            let sides = [
                settle(true, &ours, &theirs, None),
                settle(false, &theirs, &ours, None),
            ];
            let tep = |at: usize| sides[at].map(|settled| (settled.tep, settled.tep_octet));
            assert_eq!(tep(0), tep(1));
        }
        // The SYN-ACK that answers it.
        let chosen = choose(&theirs, &Tep::ALL);
        assert!(chosen.is_none_or(|tep| form.names(tep.octet())));
        if let Some(tep) = chosen {
            let answer = Offer {
                kind,
                passive_role: true,
                app_aware: false,
                teps: &[tep],
                resume: None,
            };
            let answer = answer.build().expect("short");
            if let Some(settled) = settle(false, &answer, &theirs, None) {
                assert_eq!((settled.host, settled.tep), (Host::B, tep));
            } else {
                assert!(form.global().passive_role, "nothing else is against it");
            }
        }
        for (tep, resumption) in named(&theirs) {
            let answer = Offer {
                kind,
                passive_role: true,
                app_aware: true,
                teps: &[],
                resume: Some((tep, resumption)),
            };
            let answer = answer.build().expect("short");
            let session = Some((tep, resumption.half));
            if let Some(settled) = settle(false, &answer, &theirs, session) {
                assert!(settled.resumed.is_some() && settled.tep == tep);
            }
            // As the answer to itself it may be anything but a failure.
            let _ = settle(true, &answer, &theirs, session);
        }
        for policy in [Policy::Legacy, Policy::Standard, Policy::Auto, Policy::Off] {
            match answering(policy, &theirs, None) {
                Answering::Standard(tep) => assert!(form.names(tep.octet())),
                Answering::Legacy => assert_eq!(kind, Kind::Experimental),
                Answering::Plain => {}
            }
        }
    }
});

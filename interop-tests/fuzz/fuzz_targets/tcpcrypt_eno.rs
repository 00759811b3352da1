//! The TCP options of a stranger's SYN or SYN-ACK.
#![no_main]
use libfuzzer_sys::fuzz_target;
use tcpcrypt_proto::eno::{Answer, EnoError, EnoOption, Offer, Tep};

fuzz_target!(|data: &[u8]| {
    let options = [
        EnoOption::parse(data),
        EnoOption::find(data).and_then(|found| found.ok_or(EnoError::Other)),
    ];
    for eno in options.into_iter().flatten() {
        assert_eq!(EnoOption::parse(eno.as_bytes()), Ok(eno));
        assert!(
            data.windows(eno.as_bytes().len())
                .any(|window| window == eno.as_bytes())
        );
        assert_eq!(eno.is_bare(), eno.suboptions().is_empty());
        for ours in [&Tep::DEFAULT[..], &[Tep::P521], &[]] {
            if let Some(tep) = eno.choose(ours) {
                assert!(ours.contains(&tep) && eno.suboptions().contains(&tep.octet()));
                let offer = Offer {
                    teps: ours,
                    app_aware: false,
                    resume: None,
                };
                assert_eq!(
                    offer.answer(&EnoOption::accept(tep, eno.app_aware())),
                    Answer::Exchange(tep)
                );
            }
        }
        for id in eno.resume_ids() {
            assert!(id.0[0] >= 0x80);
            assert!(data.windows(id.0.len()).any(|window| window == id.0));
            let offer = Offer {
                teps: &Tep::DEFAULT,
                app_aware: eno.app_aware(),
                resume: Some(id),
            };
            let named: Vec<_> = offer.build().resume_ids().collect();
            assert_eq!(named, [id]);
            // The SYN-ACK of a server that knows the session.
            let tep = Tep::from_octet(id.0[0] & 0x7f);
            if let Some(tep) = tep {
                for app_aware in [false, true] {
                    let reply = EnoOption::accept_resumption(tep, app_aware, &eno);
                    assert_eq!(offer.answer(&reply), Answer::Resumed);
                }
            }
            // Whatever this option is as an answer, it is read.
            let _ = offer.answer(&eno);
        }
    }
});

//! Any octets as isakmpd.conf, through every face that the daemon looks through.
#![no_main]
use ike::config::Configuration;
use isakmp_proto::identity::Identity;
use isakmpd_conf::host::Host;
use isakmpd_conf::{Running, Store, check, octets};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let (store, problems) = Store::parse(data);
    assert!(problems.len() <= data.len());
    let settings: Vec<_> = store
        .settings()
        .iter()
        .map(|one| {
            (
                one.section.to_owned(),
                one.tag.to_owned(),
                one.value.to_owned(),
            )
        })
        .collect();
    assert!(settings.len() <= data.len());
    for (section, tag, value) in &settings {
        assert_eq!(store.get(section, tag).as_deref(), Some(value.as_str()));
        assert!(octets(value).len() <= data.len());
    }
    let report = check::check(data, &Host::default());
    assert!(
        report
            .findings
            .iter()
            .all(|finding| !finding.text.is_empty())
    );
    let running = Running::new(store, Host::default());
    let _ = running.general();
    let mut names = running.connections();
    names.extend(running.passive_connections());
    names.extend(settings.iter().map(|(section, ..)| section.clone()));
    for name in &names {
        if let Ok(peer) = running.peer(name) {
            let _ = running.phase1(&peer.configuration);
        }
        if let Ok(connection) = running.connection(name) {
            let _ = running.quick_mode(&connection.configuration);
            if let (Some(local), Some(remote)) = (&connection.local_id, &connection.remote_id) {
                let _ = running.connection_for_ids(&remote.identity, &local.identity, None);
                let _ = running.connection_for_ids(&remote.identity, &local.identity, Some(name));
            }
        }
        let _ = running.mode_config(&Identity::Fqdn(octets(name)));
        let _ = running.authentication_of(name);
    }
    assert!(running.take_warnings().len() <= 100);
});

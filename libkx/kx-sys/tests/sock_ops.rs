//! ENO options on the kernel's own TCP, between two network namespaces.

#[test]
fn probe() {
    kx_sys::sock_ops::probe()
        .map_err(|e| match e {
            kx_sys::sock_ops::SockOpsError::Verifier { log, .. } => log
                .lines()
                .rev()
                .take(60)
                .collect::<Vec<_>>()
                .into_iter()
                .rev()
                .collect::<Vec<_>>()
                .join("\n"),
            e => format!("{e:?}"),
        })
        .unwrap_or_else(|e| panic!("{e}"));
}

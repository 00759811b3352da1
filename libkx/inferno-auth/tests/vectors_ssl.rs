//! Records that the ssl device of Inferno wrote, under every algorithm.

mod recorded;

use inferno_auth::ssl::{Algorithms, Opener, Sealer};

use recorded::{json, list, octets, text};

#[test]
fn records_of_every_algorithm() {
    let vectors = json("ssl/records.json");
    let mut padded = 0;
    for vector in list(&vectors) {
        let name = text(&vector["alg"]);
        let algorithms = Algorithms::parse(name).unwrap();
        let secret = octets(&vector["secret_hex"]);
        let (mut sealer, mut opener) = (Sealer::new(), Opener::new());
        sealer.protect(algorithms, &secret).unwrap();
        opener.protect(algorithms, &secret).unwrap();
        let mut in_step = true;
        for (write, record) in list(&vector["writes_hex"])
            .iter()
            .zip(list(&vector["records_hex"]))
        {
            let (data, wire) = (octets(write), octets(record));
            opener.receive(&wire);
            let opened = opener
                .open()
                .unwrap_or_else(|error| panic!("{name}: {error}"));
            assert_eq!(*opened.unwrap(), data, "{name}");
            let mut ours = Vec::new();
            sealer.seal(&data, &mut ours).unwrap();
            assert_eq!(ours.len(), wire.len(), "{name}");
            // Padding is random, and what is chained after it differs too.
            if wire[0] & 0x80 == 0 {
                assert_eq!(ours[..3], wire[..3], "{name}");
                padded += 1;
                in_step = !name.contains("cbc");
            } else if in_step {
                assert_eq!(ours, wire, "{name}");
            }
        }
        assert!(opener.is_between());
    }
    assert!(list(&vectors).len() >= 40 && padded > 10);
}

//! Share files and password shares of the recorded reference.
mod support;

use support::{Fixed, colons, file, json, octets};
use xkek::dkek::{Error, ShareFile, combine, no_progress};
use xkek::shamir::{self, Share};

#[test]
fn two_shares_and_their_key() {
    let values = json("dkek/dkek.json");
    let mut shares = Vec::new();
    for name in ["s1.pbe", "s2.pbe"] {
        let content = file(&format!("dkek/{name}"));
        let share_file = ShareFile::parse(&content).unwrap();
        assert_eq!(share_file.encode()[..], content);
        let password = values[name]["password"].as_str().unwrap();
        let mut told = Vec::new();
        let share = share_file
            .open(password.as_bytes(), &mut |done| {
                told.push(done);
                true
            })
            .unwrap();
        assert!(told.len() > 100 && told.is_sorted());
        assert_eq!(told.last(), Some(&1000));
        assert_eq!(share.as_slice(), octets(&values[name]["share"]));
        // Sealed again with the same salt it is the same file.
        if name == "s1.pbe" {
            let mut salt = Fixed(content[8..16].to_vec());
            let again =
                ShareFile::seal(&share, password.as_bytes(), &mut salt, &mut no_progress).unwrap();
            assert_eq!(again.encode()[..], content);
        }
        shares.push(share);
    }
    let dkek = combine(&shares).unwrap();
    assert_eq!(dkek.as_slice(), octets(&values["dkek"]));
    assert_eq!(dkek.kcv().0[..], octets(&values["kcv"]));
    shares.push(shares[0].duplicate());
    assert_eq!(
        combine(&shares).unwrap_err().to_string(),
        "the same DKEK share was given twice"
    );
}

#[test]
fn a_wrong_password_and_no_share() {
    let content = file("dkek/s1.pbe");
    let opened = ShareFile::parse(&content)
        .unwrap()
        .open(b"share-two-pw", &mut no_progress);
    assert_eq!(
        opened.unwrap_err().to_string(),
        "Error decrypting DKEK share. Password correct ?"
    );
    for len in [0, 7, 8, 16, 63] {
        assert_eq!(
            ShareFile::parse(&content[..len]),
            Err(Error::NotAShare),
            "{len}"
        );
    }
    let longer = [&content[..], &[0]].concat();
    assert_eq!(ShareFile::parse(&longer), Err(Error::NotAShare));
    let stopped = ShareFile::parse(&content)
        .unwrap()
        .open(b"share-one-pw", &mut |_| false);
    assert_eq!(stopped.err(), Some(Error::Interrupted));
}

/// The shares of a recorded set, as a custodian would type them.
fn noted(values: &serde_json::Value) -> Vec<Share> {
    let prime = values["prime"].as_str().unwrap();
    let shares = values["shares"].as_object().unwrap();
    let mut list: Vec<Share> = shares
        .iter()
        .map(|(id, value)| Share::parse(prime, id, value.as_str().unwrap()).unwrap())
        .collect();
    list.sort_by_key(|share| share.id);
    list
}

#[test]
fn three_of_five_and_two_of_eleven() {
    for (name, threshold) in [("3of5", 3), ("2of11", 2)] {
        let values = json(&format!("nofm/{name}.json"));
        let password = octets(&values["password"]);
        let shares = noted(&values);
        assert_eq!(shares[0].prime, colons(&values["prime"]));
        // Every window of as many neighbours, ID 10 and 11 among them; and all together.
        for some in shares.windows(threshold).chain([&shares[..]]) {
            assert!(shamir::combine(some).unwrap().ct_eq(&password), "{name}");
        }
        let few = &shares[..threshold - 1];
        match shamir::combine(few) {
            Ok(number) => assert!(!number.ct_eq(&password)),
            Err(error) => assert_eq!(error, shamir::Error::TooFew),
        }
        let candidates = shamir::candidates(&shares[..threshold]).unwrap();
        assert!(candidates[0].ct_eq(&password));
        let share = ShareFile::parse(&file(&format!("nofm/{name}.pbe")))
            .unwrap()
            .open(&password, &mut no_progress)
            .unwrap();
        assert_eq!(share.as_slice(), octets(&values["share"]));
        assert_eq!(share.kcv().0[..], octets(&values["kcv_if_only_share"]));
    }
}

/// Notes say what the reference printed.
#[test]
fn written_as_the_reference_writes_them() {
    let text = support::text("nofm/2of11-create.txt");
    let values = json("nofm/2of11.json");
    for share in noted(&values) {
        for line in [
            format!("Prime       : {}", share.prime_text()),
            format!("Share ID    : {}", share.id),
            format!("Share value : {}", &*share.value_text()),
        ] {
            assert!(text.lines().any(|printed| printed == line), "{line}");
        }
    }
}

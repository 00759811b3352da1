//! The names of the generated transforms and suites, and what they stand for (isakmpd-config 4.1, 4.2).
//!
//! The original writes some 24,000 settings into its table at each start; here a name is taken apart
//! when it is asked for.

/// A cipher, as main and quick mode names have it, with the value of `KEY_LENGTH`.
type Cipher = (&'static str, &'static str, Option<&'static str>);

const BLOWFISH: Option<&str> = Some("128,96:192");
const AES: Option<&str> = Some("128,128:256");
const AES_128: Option<&str> = Some("128,128:128");
const AES_192: Option<&str> = Some("192,192:192");
const AES_256: Option<&str> = Some("256,256:256");

// In all tables a name stands in front of those it begins with.
const MAIN_MODE_CIPHERS: [Cipher; 8] = [
    ("AES-128", "AES_CBC", AES_128),
    ("AES-192", "AES_CBC", AES_192),
    ("AES-256", "AES_CBC", AES_256),
    ("AES", "AES_CBC", AES),
    ("3DES", "3DES_CBC", None),
    ("BLF", "BLOWFISH_CBC", BLOWFISH),
    ("CAST", "CAST_CBC", None),
    ("DES", "DES_CBC", None),
];

const QUICK_MODE_CIPHERS: [Cipher; 19] = [
    ("AES-128", "AES", AES_128),
    ("AES-192", "AES", AES_192),
    ("AES-256", "AES", AES_256),
    ("AES", "AES", AES),
    ("AESCTR-128", "AES_CTR", AES_128),
    ("AESCTR-192", "AES_CTR", AES_192),
    ("AESCTR-256", "AES_CTR", AES_256),
    ("AESCTR", "AES_CTR", None),
    ("AESGCM-128", "AES_GCM_16", AES_128),
    ("AESGCM-192", "AES_GCM_16", AES_192),
    ("AESGCM-256", "AES_GCM_16", AES_256),
    ("AESGMAC-128", "AES_GMAC", AES_128),
    ("AESGMAC-192", "AES_GMAC", AES_192),
    ("AESGMAC-256", "AES_GMAC", AES_256),
    ("3DES", "3DES", None),
    ("CAST", "CAST", None),
    ("BLF", "BLOWFISH", BLOWFISH),
    ("NULL", "NULL", None),
    ("DES", "DES", None),
];

/// Name, and how the algorithm is called in AH; `HMAC_` in front of it in ESP.
type Hash = (&'static str, &'static str, &'static str);

const HASHES: [Hash; 6] = [
    ("MD5", "MD5", "HMAC_MD5"),
    ("SHA", "SHA", "HMAC_SHA"),
    ("RIPEMD", "RIPEMD", "HMAC_RIPEMD"),
    ("SHA2-256", "SHA2_256", "HMAC_SHA2_256"),
    ("SHA2-384", "SHA2_384", "HMAC_SHA2_384"),
    ("SHA2-512", "SHA2_512", "HMAC_SHA2_512"),
];

type Group = (&'static str, &'static str);

const GROUPS: [Group; 17] = [
    ("GRP1", "MODP_768"),
    ("GRP2", "MODP_1024"),
    ("GRP5", "MODP_1536"),
    ("GRP14", "MODP_2048"),
    ("GRP15", "MODP_3072"),
    ("GRP16", "MODP_4096"),
    ("GRP17", "MODP_6144"),
    ("GRP18", "MODP_8192"),
    ("GRP19", "ECP_256"),
    ("GRP20", "ECP_384"),
    ("GRP21", "ECP_521"),
    ("GRP25", "ECP_192"),
    ("GRP26", "ECP_224"),
    ("GRP27", "BP_224"),
    ("GRP28", "BP_256"),
    ("GRP29", "BP_384"),
    ("GRP30", "BP_512"),
];

/// The group where a name has none.
const NO_GROUP: Group = ("", "MODP_1024");

/// Takes `word` and its hyphen off the front of a name, without case.
fn strip<'a>(name: &'a str, word: &str) -> Option<&'a str> {
    let (front, rest) = name.split_at_checked(word.len())?;
    if !front.eq_ignore_ascii_case(word) {
        return None;
    }
    if rest.is_empty() {
        Some(rest)
    } else {
        rest.strip_prefix('-')
    }
}

fn take<'a, T: Copy>(
    name: &'a str,
    table: &[T],
    word: impl Fn(&T) -> &'static str,
) -> Option<(T, &'a str)> {
    table
        .iter()
        .find_map(|row| strip(name, word(row)).map(|rest| (*row, rest)))
}

/// `CIPHER-HASH[-GRPn][-DSS|-RSA_SIG]`: a phase 1 transform.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct MainMode {
    cipher: Cipher,
    hash: Hash,
    group: Group,
    authentication: (&'static str, &'static str),
}

impl MainMode {
    /// Takes a name apart.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        // An empty piece ("AES-SHA-") would go unseen below.
        if name.ends_with('-') {
            return None;
        }
        let (cipher, rest) = take(name, &MAIN_MODE_CIPHERS, |row| row.0)?;
        let (hash, rest) = take(rest, &HASHES, |row| row.0)?;
        if hash.0 == "RIPEMD" {
            return None;
        }
        let (group, rest) = take(rest, &GROUPS, |row| row.0).unwrap_or((NO_GROUP, rest));
        let authentication = if rest.is_empty() {
            ("", "PRE_SHARED")
        } else if rest.eq_ignore_ascii_case("DSS") {
            ("-DSS", "DSS")
        } else if rest.eq_ignore_ascii_case("RSA_SIG") {
            ("-RSA_SIG", "RSA_SIG")
        } else {
            return None;
        };
        Some(Self {
            cipher,
            hash,
            group,
            authentication,
        })
    }

    /// The 2004 version knew DES.
    pub(crate) fn is_des(&self) -> bool {
        self.cipher.0 == "DES"
    }

    /// The tags, in the original's order.
    pub(crate) const TAGS: [&'static str; 6] = [
        "ENCRYPTION_ALGORITHM",
        "KEY_LENGTH",
        "HASH_ALGORITHM",
        "AUTHENTICATION_METHOD",
        "GROUP_DESCRIPTION",
        "Life",
    ];

    /// The value of a tag, which is one of [`TAGS`](Self::TAGS) in lower case.
    pub(crate) fn get(&self, tag: &str) -> Option<&'static str> {
        match tag {
            "encryption_algorithm" => Some(self.cipher.1),
            "key_length" => self.cipher.2,
            "hash_algorithm" => Some(self.hash.1),
            "authentication_method" => Some(self.authentication.1),
            "group_description" => Some(self.group.1),
            "life" => Some("LIFE_MAIN_MODE"),
            _ => None,
        }
    }
}

/// Which of the three sections of a quick mode name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// `N-SUITE`
    Suite,
    /// `N`
    Protocol,
    /// `N-XF`
    Transform,
}

/// `QM-ESP|AH[-TRP][-CIPHER][-HASH][-PFS[-GRPn]]`, and what is behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct QuickMode {
    part: Part,
    transport: bool,
    /// Of ESP; AH has none.
    cipher: Option<Cipher>,
    hash: Option<Hash>,
    perfect_forward_secrecy: Option<Group>,
}

fn without_suffix<'a>(name: &'a str, suffix: &str) -> Option<&'a str> {
    let (front, end) = name.split_at_checked(name.len().checked_sub(suffix.len())?)?;
    end.eq_ignore_ascii_case(suffix).then_some(front)
}

impl QuickMode {
    /// Takes a name apart.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        let rest = strip(name, "QM")?;
        let (part, rest) = if let Some(rest) = without_suffix(rest, "-SUITE") {
            (Part::Suite, rest)
        } else if let Some(rest) = without_suffix(rest, "-XF") {
            (Part::Transform, rest)
        } else {
            (Part::Protocol, rest)
        };
        if rest.ends_with('-') {
            return None;
        }
        let (ah, rest) = match strip(rest, "ESP") {
            Some(rest) => (false, rest),
            None => (true, strip(rest, "AH")?),
        };
        let (transport, rest) = strip(rest, "TRP").map_or((false, rest), |rest| (true, rest));
        let (cipher, rest) = if ah {
            (None, rest)
        } else {
            let (cipher, rest) = take(rest, &QUICK_MODE_CIPHERS, |row| row.0)?;
            (Some(cipher), rest)
        };
        let (hash, rest) = match take(rest, &HASHES, |row| row.0) {
            Some((hash, rest)) => (Some(hash), rest),
            None => (None, rest),
        };
        let authenticates =
            cipher.is_some_and(|cipher| matches!(cipher.1, "AES_GCM_16" | "AES_GMAC"));
        if (ah && hash.is_none()) || (authenticates && hash.is_some()) {
            return None;
        }
        let (perfect_forward_secrecy, rest) = match strip(rest, "PFS") {
            Some(rest) => {
                let (group, rest) = take(rest, &GROUPS, |row| row.0).unwrap_or((NO_GROUP, rest));
                (Some(group), rest)
            }
            None => (None, rest),
        };
        rest.is_empty().then_some(Self {
            part,
            transport,
            cipher,
            hash,
            perfect_forward_secrecy,
        })
    }

    /// The 2004 version knew DES.
    pub(crate) fn is_des(&self) -> bool {
        self.cipher.is_some_and(|cipher| cipher.0 == "DES")
    }

    /// The name without what is behind it, spelled as the original does.
    fn stem(&self) -> String {
        let mut stem = String::from(if self.cipher.is_some() {
            "QM-ESP"
        } else {
            "QM-AH"
        });
        if self.transport {
            stem.push_str("-TRP");
        }
        let words = [self.cipher.map(|row| row.0), self.hash.map(|row| row.0)];
        for word in words.into_iter().flatten() {
            stem.push('-');
            stem.push_str(word);
        }
        if let Some((group, _)) = self.perfect_forward_secrecy {
            stem.push_str("-PFS");
            if !group.is_empty() {
                stem.push('-');
                stem.push_str(group);
            }
        }
        stem
    }

    /// The tags of this part, in the original's order.
    pub(crate) fn tags(&self) -> &'static [&'static str] {
        match self.part {
            Part::Suite => &["Protocols"],
            Part::Protocol => &["PROTOCOL_ID", "Transforms"],
            Part::Transform => &[
                "TRANSFORM_ID",
                "KEY_LENGTH",
                "ENCAPSULATION_MODE",
                "AUTHENTICATION_ALGORITHM",
                "GROUP_DESCRIPTION",
                "Life",
            ],
        }
    }

    /// The value of a tag, which is in lower case. `compatible`: no group without a hash, as the original has it.
    pub(crate) fn get(
        &self,
        tag: &str,
        compatible: bool,
    ) -> Option<std::borrow::Cow<'static, str>> {
        let value = match (self.part, tag) {
            (Part::Suite, "protocols") => return Some(self.stem().into()),
            (Part::Protocol, "transforms") => return Some((self.stem() + "-XF").into()),
            (Part::Protocol, "protocol_id") => {
                if self.cipher.is_some() {
                    "IPSEC_ESP"
                } else {
                    "IPSEC_AH"
                }
            }
            (Part::Transform, "transform_id") => match self.cipher {
                Some(cipher) => cipher.1,
                None => self.hash?.1,
            },
            (Part::Transform, "key_length") => self.cipher?.2?,
            (Part::Transform, "encapsulation_mode") => {
                if self.transport {
                    "TRANSPORT"
                } else {
                    "TUNNEL"
                }
            }
            (Part::Transform, "authentication_algorithm") => self.hash?.2,
            (Part::Transform, "group_description") => {
                if compatible {
                    self.hash?;
                }
                self.perfect_forward_secrecy?.1
            }
            (Part::Transform, "life") => "LIFE_QUICK_MODE",
            _ => return None,
        };
        Some(value.into())
    }
}

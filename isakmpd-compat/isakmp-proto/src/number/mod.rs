//! Assigned numbers and the names by which configuration files and logs call them (isakmpd-wire 1).
//!
//! Every type here is a thin wrapper of the number on the wire: unknown numbers are kept and print as
//! `<Unknown N>`, the text of the original's logs. Names compare without regard to case.

mod ike;
mod ipsec;
mod isakmp;

pub use ike::{GroupDescription, GroupType, IkeAttribute, IkeAuth, IkeEncryption, IkeHash};
pub use ipsec::{
    AhTransform, AttributeClass, Encapsulation, EspTransform, IdType, IpcompTransform,
    IpsecAttribute, IpsecAuth, LifeType,
};
pub use isakmp::{
    CertEncoding, CfgAttribute, CfgType, Doi, ExchangeType, Flags, NotifyType, PayloadType,
    Protocol,
};

/// The name of a number: its constant's, where none is given.
macro_rules! text {
    ($constant:ident) => {
        stringify!($constant)
    };
    ($constant:ident, $text:literal) => {
        $text
    };
}
use text;

/// Declares a number type: constants, a table of names, and conversions.
macro_rules! numbers {
    (
        $(#[$meta:meta])*
        $name:ident: $repr:ty {
            $($(#[$const_meta:meta])* $constant:ident = $value:literal $(, $text:literal)?;)*
        }
        $(names only { $($other:literal = $other_text:literal;)* })?
    ) => {
        $(#[$meta])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub $repr);

        impl $name {
            $(
                $(#[$const_meta])*
                #[doc = concat!("`", $crate::number::text!($constant $(, $text)?), "`, ", stringify!($value), ".")]
                pub const $constant: Self = Self($value);
            )*

            const NAMES: &'static [($repr, &'static str)] = &[
                $(($value, $crate::number::text!($constant $(, $text)?)),)*
                $($(($other, $other_text),)*)?
            ];

            /// The name in the configuration file and in logs; `None` for a number without one.
            #[must_use]
            pub fn name(self) -> Option<&'static str> {
                $crate::number::name_of(Self::NAMES, self.0)
            }

            /// The number called `name`, upper and lower case alike.
            #[must_use]
            pub fn from_name(name: &str) -> Option<Self> {
                $crate::number::number_of(Self::NAMES, name).map(Self)
            }
        }

        impl std::fmt::Display for $name {
            /// The name, or `<Unknown N>`.
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                match self.name() {
                    Some(name) => f.write_str(name),
                    None => write!(f, "<Unknown {}>", self.0),
                }
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, "{}({})", self, self.0)
            }
        }

        impl From<$repr> for $name {
            fn from(number: $repr) -> Self {
                Self(number)
            }
        }

        impl From<$name> for $repr {
            fn from(number: $name) -> Self {
                number.0
            }
        }
    };
}
use numbers;

fn name_of<T: PartialEq + Copy>(names: &[(T, &'static str)], number: T) -> Option<&'static str> {
    names
        .iter()
        .find(|(n, _)| *n == number)
        .map(|(_, name)| *name)
}

fn number_of<T: Copy>(names: &[(T, &'static str)], name: &str) -> Option<T> {
    names
        .iter()
        .find(|(_, n)| n.eq_ignore_ascii_case(name))
        .map(|(number, _)| *number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_agree() {
        assert_eq!(IkeEncryption::AES_CBC.to_string(), "AES_CBC");
        assert_eq!(
            IkeEncryption::from_name("3des_cbc"),
            Some(IkeEncryption::DES3_CBC)
        );
        assert_eq!(
            GroupDescription::from_name("MODP_2048"),
            Some(GroupDescription(14))
        );
        assert_eq!(
            EspTransform::from_name("AES_GCM_16"),
            Some(EspTransform(20))
        );
        assert_eq!(IdType::from_name("ipv4_addr_subnet"), Some(IdType(4)));
        assert_eq!(NotifyType(36_137), NotifyType::DPD_R_U_THERE_ACK);
        assert_eq!(CfgAttribute(15).to_string(), "INTERNAL_IP6_SUBNET");
        assert_eq!(IkeHash::from_name("nothing"), None);
    }

    #[test]
    fn unknown_numbers_print_as_the_original_prints_them() {
        assert_eq!(NotifyType(0).to_string(), "<Unknown 0>");
        assert_eq!(PayloadType(40).to_string(), "<Unknown 40>");
        assert_eq!(PayloadType(22).to_string(), "RESERVED_MIN");
        assert_eq!(ExchangeType(32).to_string(), "QUICK_MODE");
        assert_eq!(ExchangeType(32).base_name(), "DOI_MIN");
        assert_eq!(ExchangeType(33).base_name(), "<Unknown 33>");
    }
}

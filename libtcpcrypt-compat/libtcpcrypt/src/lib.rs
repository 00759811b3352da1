//! The exported functions of libtcpcrypt.

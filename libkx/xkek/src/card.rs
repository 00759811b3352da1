//! The one thing the library asks of a card: to answer a command APDU.

/// A way to a card with the applet. Connections and time limits are the business of who implements it.
pub trait Card {
    /// Why no answer came.
    type Error: std::error::Error + Send + Sync + 'static;

    /// Sends the command APDU and writes the response APDU, status word included, into `response`,
    /// which is emptied first.
    ///
    /// # Errors
    /// If no answer came. What the card then did with the command is not known.
    fn transmit(&mut self, command: &[u8], response: &mut Vec<u8>) -> Result<(), Self::Error>;
}

impl<C: Card + ?Sized> Card for &mut C {
    type Error = C::Error;

    fn transmit(&mut self, command: &[u8], response: &mut Vec<u8>) -> Result<(), Self::Error> {
        (**self).transmit(command, response)
    }
}

impl<C: Card + ?Sized> Card for Box<C> {
    type Error = C::Error;

    fn transmit(&mut self, command: &[u8], response: &mut Vec<u8>) -> Result<(), Self::Error> {
        (**self).transmit(command, response)
    }
}

//! Who is trusted: the vendor's root of real devices, and what the user adds.

use std::path::Path;

use xkek::chain::Roots;
use xkek::cvc::Certificate;

use crate::error::{Error, Result};
use crate::task::Task;

/// The roots of `--trust-root` and `--trust-test-root`, beside the vendor's.
///
/// # Errors
/// [`Error::File`].
pub fn roots(task: &Task) -> Result<Roots> {
    let failed = |error: xkek::chain::Error| Error::Failed(error.to_string());
    let mut roots = Roots::production().map_err(failed)?;
    if task.arguments.has("trust-test-root") {
        roots.add_test().map_err(failed)?;
    }
    for name in task.arguments.all("trust-root") {
        let path = Path::new(name);
        let content = task.read(path)?;
        let root = Certificate::parse(&content).map_err(|error| Error::file(path, error))?;
        roots.add(root).map_err(|error| Error::file(path, error))?;
    }
    Ok(roots)
}

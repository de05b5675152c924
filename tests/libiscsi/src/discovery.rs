//! SendTargets: what an initiator may see (RFC 7143 appendix C).

use super::error::Error;
use super::options::{Context, Options};
use super::sys;
use std::ffi::{c_char, CStr};

/// A target that was told of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its name.
    pub target: String,
    /// Its portals, as `ADDR:PORT,TAG`.
    pub portals: Vec<String>,
}

/// Logs in to discover, asks for all targets, and leaves.
///
/// # Errors
/// [`Error::Connect`], [`Error::Login`], [`Error::Option`].
pub fn discover(portal: &str, options: &Options) -> Result<Vec<Found>, Error> {
    let context = Context::new(options, None)?;
    context.log_in(portal)?;
    let raw = context.0.as_ptr();
    // SAFETY: a logged-in discovery session; the list is the library's, and freed by it below. An empty list
    // is a null pointer, as is a failure.
    let list = unsafe { sys::iscsi_discovery_sync(raw) };
    let mut found = Vec::new();
    let mut address = list;
    // SAFETY: the list is linked by `next` and ends with a null pointer; so are the portals.
    while let Some(entry) = unsafe { address.as_ref() } {
        let mut portals = Vec::new();
        let mut portal = entry.portals;
        // SAFETY: as above.
        while let Some(one) = unsafe { portal.as_ref() } {
            portals.push(text(one.portal));
            portal = one.next;
        }
        found.push(Found { target: text(entry.target), portals });
        address = entry.next;
    }
    if !list.is_null() {
        // SAFETY: the list came from this context, and nothing of it is used any more.
        unsafe { sys::iscsi_free_discovery_data(raw, list) };
    }
    // SAFETY: a logged-in session without commands. That it fails matters to nobody: the context ends next.
    unsafe { sys::iscsi_logout_sync(raw) };
    Ok(found)
}

fn text(text: *const c_char) -> String {
    if text.is_null() {
        return String::new();
    }
    // SAFETY: a C string of a list that lives.
    unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
}

//! Who logs in, and how.

use super::error::Error;
use super::sys;
use std::ffi::{c_int, CString};
use std::ptr::NonNull;
use std::time::Duration;

/// The random form of an ISID: what tells one initiator's sessions apart (RFC 7143 11.12.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Isid {
    /// 24 bits.
    pub random: u32,
    /// 16 bits.
    pub qualifier: u16,
}

/// What a login says.
#[derive(Clone, Debug)]
pub struct Options {
    /// The initiator's name.
    pub initiator: String,
    /// User and secret of one-way CHAP.
    pub chap: Option<(String, String)>,
    /// User and secret that the target must prove (mutual CHAP; only with `chap`).
    pub mutual: Option<(String, String)>,
    /// CRC-32C of headers: demanded, not only offered.
    pub header_digest: bool,
    /// None: one by chance.
    pub isid: Option<Isid>,
    /// ImmediateData as offered.
    pub immediate_data: bool,
    /// InitialR2T as offered.
    pub initial_r2t: bool,
    /// For connecting, and for the login.
    pub timeout: Duration,
}

impl Options {
    /// The library's defaults for an initiator of that name; ten seconds to log in.
    #[must_use]
    pub fn new(initiator: &str) -> Options {
        Options {
            initiator: initiator.into(),
            chap: None,
            mutual: None,
            header_digest: false,
            isid: None,
            immediate_data: true,
            initial_r2t: false,
            timeout: Duration::from_secs(10),
        }
    }

    /// The same with one-way CHAP.
    #[must_use]
    pub fn with_chap(mut self, user: &str, secret: &str) -> Options {
        self.chap = Some((user.into(), secret.into()));
        self
    }
}

/// A context of the library, which ends with this.
pub(crate) struct Context(pub(crate) NonNull<sys::Context>);

impl Drop for Context {
    fn drop(&mut self) {
        // SAFETY: the context came from iscsi_create_context, and nobody uses it after its owner.
        unsafe { sys::iscsi_destroy_context(self.0.as_ptr()) };
    }
}

impl Context {
    /// A context for a session at `target`, or for discovery if there is none.
    pub(crate) fn new(options: &Options, target: Option<&str>) -> Result<Context, Error> {
        let name = text(&options.initiator)?;
        // SAFETY: the name is a C string that outlives the call, which copies it.
        let raw = unsafe { sys::iscsi_create_context(name.as_ptr()) };
        let context = Context(NonNull::new(raw).ok_or_else(|| Error::Option("no memory".into()))?);
        let raw = context.0.as_ptr();
        let kind = if target.is_some() { sys::SESSION_NORMAL } else { sys::SESSION_DISCOVERY };
        let digest = if options.header_digest { sys::DIGEST_CRC32C } else { sys::DIGEST_NONE };
        let seconds = options.timeout.as_secs().max(1) as c_int;
        // SAFETY: `raw` is a context that has not logged in; all arguments are plain numbers.
        let accepted = unsafe {
            sys::iscsi_set_noautoreconnect(raw, 1);
            sys::iscsi_set_timeout(raw, seconds) == 0
                && sys::iscsi_set_session_type(raw, kind) == 0
                && sys::iscsi_set_header_digest(raw, digest) == 0
                && sys::iscsi_set_immediate_data(raw, c_int::from(options.immediate_data)) == 0
                && sys::iscsi_set_initial_r2t(raw, c_int::from(options.initial_r2t)) == 0
        };
        context.accepted(accepted)?;
        if let Some(isid) = options.isid {
            // SAFETY: as above.
            let accepted =
                unsafe { sys::iscsi_set_isid_random(raw, isid.random, u32::from(isid.qualifier)) == 0 };
            context.accepted(accepted)?;
        }
        if let Some(target) = target {
            let target = text(target)?;
            // SAFETY: as above; the string is copied.
            context.accepted(unsafe { sys::iscsi_set_targetname(raw, target.as_ptr()) == 0 })?;
        }
        context.credentials(options)?;
        Ok(context)
    }

    fn credentials(&self, options: &Options) -> Result<(), Error> {
        if let Some((user, secret)) = &options.chap {
            let (user, secret) = (text(user)?, text(secret)?);
            // SAFETY: a context before its login, and C strings that are copied.
            let set = unsafe {
                sys::iscsi_set_initiator_username_pwd(self.0.as_ptr(), user.as_ptr(), secret.as_ptr())
            };
            self.accepted(set == 0)?;
        }
        if let Some((user, secret)) = &options.mutual {
            let (user, secret) = (text(user)?, text(secret)?);
            // SAFETY: as above.
            let set = unsafe {
                sys::iscsi_set_target_username_pwd(self.0.as_ptr(), user.as_ptr(), secret.as_ptr())
            };
            self.accepted(set == 0)?;
        }
        Ok(())
    }

    /// Connects and logs in.
    pub(crate) fn log_in(&self, portal: &str) -> Result<(), Error> {
        let portal = text(portal)?;
        // SAFETY: a context that is not connected, and a C string that is copied.
        if unsafe { sys::iscsi_connect_sync(self.0.as_ptr(), portal.as_ptr()) } != 0 {
            return Err(Error::Connect(self.last_error()));
        }
        // SAFETY: a connected context that has not logged in.
        if unsafe { sys::iscsi_login_sync(self.0.as_ptr()) } != 0 {
            let why = self.last_error();
            return Err(Error::Login { status: status(&why), why });
        }
        Ok(())
    }

    fn accepted(&self, accepted: bool) -> Result<(), Error> {
        if accepted {
            Ok(())
        } else {
            Err(Error::Option(self.last_error()))
        }
    }

    /// The library's last words.
    pub(crate) fn last_error(&self) -> String {
        // SAFETY: the context lives, and gives a C string that is its own until the next call.
        unsafe { std::ffi::CStr::from_ptr(sys::iscsi_get_error(self.0.as_ptr())) }
            .to_string_lossy()
            .into_owned()
    }
}

fn text(text: &str) -> Result<CString, Error> {
    CString::new(text).map_err(|_| Error::Option(format!("{text:?} holds a zero byte")))
}

/// The status in `... Status: Authorization failure(513)`.
fn status(why: &str) -> Option<u16> {
    why.rsplit_once('(')?.1.split(')').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::status;

    #[test]
    fn the_status_is_found_in_the_librarys_words() {
        assert_eq!(status("Failed to log in to target. Status: Authorization failure(513)"), Some(0x0201));
        assert_eq!(status("Failed to log in"), None);
    }
}

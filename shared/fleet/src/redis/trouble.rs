//! What went wrong with Redis, without secrets.

use redis::{ConnectionInfo, ErrorKind, RedisError};

/// What Redis or the way to it reported.
///
/// A text, not the library's error: an old Redis repeats the command that it does not know in its answer, and that command may be the
/// one with the password.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Trouble {
    /// No answer in time. Whether the command ran is unknown.
    #[error("Redis did not answer in time")]
    Timeout,
    /// There is no connection.
    #[error("there is no connection to Redis")]
    Away,
    /// It said why.
    #[error("{0}")]
    Said(String),
}

/// Takes secrets out of texts.
#[derive(Clone)]
pub(super) struct Censor {
    secrets: Vec<String>,
}

impl std::fmt::Debug for Censor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Censor").finish_non_exhaustive()
    }
}

impl Censor {
    pub(super) fn new(info: &ConnectionInfo) -> Self {
        let settings = info.redis_settings();
        // The user's name is no secret, and may be a word that says what is wrong, such as `default`.
        let secrets = settings.password().into_iter().filter(|text| !text.is_empty());
        Self {
            secrets: secrets.map(str::to_owned).collect(),
        }
    }

    /// What an error says, with a hint where we know what to do.
    pub(super) fn trouble(&self, error: &RedisError) -> Trouble {
        let advice = match (error.kind(), error.code()) {
            (ErrorKind::RESP3NotSupported, _) => "; Redis 6 or newer is needed",
            (ErrorKind::AuthenticationFailed, _) | (_, Some("WRONGPASS" | "NOAUTH")) => {
                "; check the user and the password in its address"
            }
            (_, Some("NOPERM")) => "; give its user the rights that the documentation lists",
            (_, Some("READONLY")) => "; this is a replica, the address has to be the primary's",
            (_, Some("OOM")) => "; it needs more memory, or fewer other users",
            _ => "",
        };
        Trouble::Said(format!("{}{advice}", self.clean(&error.to_string())))
    }

    fn clean(&self, text: &str) -> String {
        let mut clean = text.to_owned();
        for secret in &self.secrets {
            clean = clean.replace(secret.as_str(), "[secret]");
        }
        // An answer may be long, and have line breaks.
        clean
            .chars()
            .map(|c| if c.is_control() { ' ' } else { c })
            .take(300)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use redis::IntoConnectionInfo as _;

    use super::*;

    #[test]
    fn a_password_in_an_answer_is_taken_out() {
        let info = "redis://u:hunter2@h".into_connection_info().unwrap();
        let censor = Censor::new(&info);
        let answer = "unknown command `HELLO`, with args beginning with: `3`, `AUTH`, `u`, `hunter2`,\r\n";
        let error = RedisError::from((ErrorKind::Client, "failed", answer.to_owned()));
        let trouble = censor.trouble(&error);
        let said = format!("{trouble} {trouble:?} {censor:?}");
        assert!(said.contains("HELLO") && said.contains("[secret]"), "{said}");
        assert!(!said.contains("hunter2") && !said.contains('\n'), "{said}");
    }
}

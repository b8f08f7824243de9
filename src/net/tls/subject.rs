//! The subject of a client's certificate as a field value: RFC 4514, printable ASCII only.

use std::fmt::Write as _;
use std::io::{self, ErrorKind};

use rustls::pki_types::CertificateDer;
use x509_cert::Certificate;
use x509_cert::der::Decode as _;

use crate::limits;

/// The subject of `certificate`, for example `CN=alice,O=Example`. What is not printable ASCII is written `\XX`
/// (RFC 4514 §2.4), so that no certificate can break out of its line.
///
/// # Errors
/// It cannot be read, or is longer than [`limits::TLS_SUBJECT_BYTES_MAX`]: half a subject is somebody else's.
pub fn of(certificate: &CertificateDer<'_>) -> io::Result<Box<str>> {
    let certificate =
        Certificate::from_der(certificate).map_err(|error| io::Error::new(ErrorKind::InvalidData, error))?;
    let text = escaped(&certificate.tbs_certificate.subject.to_string());
    if text.len() > limits::TLS_SUBJECT_BYTES_MAX {
        return Err(io::Error::new(
            ErrorKind::InvalidData,
            "the subject of the client's certificate is too long",
        ));
    }
    Ok(text.into())
}

fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b' '..=b'~' => escaped.push(char::from(byte)),
            // Writing to a `String` cannot fail.
            _ => drop(write!(escaped, "\\{byte:02X}")),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subject(common_name: &str) -> io::Result<Box<str>> {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(rcgen::DnType::CommonName, common_name);
        params.distinguished_name.push(rcgen::DnType::OrganizationName, "Example");
        of(params.self_signed(&key).unwrap().der())
    }

    #[test]
    fn subjects_are_one_line_of_ascii() {
        assert_eq!(&*subject("alice").unwrap(), "O=Example,CN=alice");
        for hostile in ["a\r\nX-Admin: 1", "a\0b", "Jürgen", "a,CN=root"] {
            let text = subject(hostile).unwrap();
            assert!(text.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{text}");
        }
        assert!(
            !subject("a,CN=root").unwrap().contains("=a,CN=root"),
            "a separator inside a value is escaped"
        );
        assert!(subject(&"x".repeat(5000)).is_err());
    }
}

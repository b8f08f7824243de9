//! Why a head or a body was refused.
//!
//! One variant per rule that a peer can break, so that a log line names the rule and a test can tell which
//! check fired. The variants carry no bytes of the peer: they are `Copy` and safe to log.

use std::fmt;

/// The rule that a request or response head broke.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeadError {
    /// Not HTTP in a way that no other variant names.
    Malformed,
    /// More empty lines before the request line than [`crate::limits::LEADING_CRLF_BYTES_MAX`] bytes hold.
    LeadingEmptyLines,
    /// A line that ends in LF alone (RFC 9112 §2.2).
    BareLf,
    /// A CR that no LF follows (RFC 9112 §2.2).
    BareCr,
    /// NUL or another control byte where text belongs (RFC 9110 §5.5).
    ControlByte,
    /// A field line that starts with white space: obsolete folding (RFC 9112 §5.2).
    ObsFold,
    /// White space within a field name or between it and its colon (RFC 9112 §5.1).
    SpaceBeforeColon,
    /// A field name that is empty or no token, or a field line without a colon.
    BadFieldName,
    /// A method that is no token.
    BadMethod,
    /// CONNECT or TRACE, which an ingress does not serve.
    ConnectOrTrace,
    /// A request target of no form that its method allows, or with bytes that no URI has.
    BadTarget,
    /// A request target longer than the limit.
    TargetTooLong,
    /// A start line whose version is no HTTP/1 version.
    BadVersion,
    /// A well-formed version with another major number, such as that of the HTTP/2 preface.
    UnsupportedVersion,
    /// A status code outside 100 to 599, or none.
    BadStatus,
    /// An HTTP/1.1 request without Host (RFC 9112 §3.2).
    MissingHost,
    /// More than one Host field.
    RepeatedHost,
    /// A Host that is no `host[:port]`, or empty where there must be one.
    BadHost,
    /// An absolute-form target whose authority is not the Host.
    AuthorityDiffersFromHost,
    /// More than one Content-Length, as fields or as a list.
    RepeatedContentLength,
    /// A Content-Length that is no decimal number of 63 bits.
    BadContentLength,
    /// Content-Length and Transfer-Encoding in one head: the classic of request smuggling.
    ContentLengthWithTransferEncoding,
    /// More than one Transfer-Encoding field.
    RepeatedTransferEncoding,
    /// A Transfer-Encoding that is empty, malformed, repeats `chunked` or does not end in it.
    BadTransferEncoding,
    /// A well-formed transfer coding before `chunked` that we do not implement.
    UnknownTransferCoding,
    /// Transfer-Encoding in an HTTP/1.0 message (RFC 9112 §6.1).
    TransferEncodingInHttp10,
    /// A head longer than the limit.
    HeadTooLarge,
    /// More fields than the limit.
    TooManyFields,
}

impl HeadError {
    /// The status that answers a request with this fault. (A response with it is answered with 502.)
    #[must_use]
    pub const fn status(self) -> u16 {
        match self {
            HeadError::ConnectOrTrace => 405,
            HeadError::TargetTooLong => 414,
            HeadError::HeadTooLarge | HeadError::TooManyFields => 431,
            HeadError::UnknownTransferCoding => 501,
            HeadError::UnsupportedVersion => 505,
            HeadError::Malformed
            | HeadError::LeadingEmptyLines
            | HeadError::BareLf
            | HeadError::BareCr
            | HeadError::ControlByte
            | HeadError::ObsFold
            | HeadError::SpaceBeforeColon
            | HeadError::BadFieldName
            | HeadError::BadMethod
            | HeadError::BadTarget
            | HeadError::BadVersion
            | HeadError::BadStatus
            | HeadError::MissingHost
            | HeadError::RepeatedHost
            | HeadError::BadHost
            | HeadError::AuthorityDiffersFromHost
            | HeadError::RepeatedContentLength
            | HeadError::BadContentLength
            | HeadError::ContentLengthWithTransferEncoding
            | HeadError::RepeatedTransferEncoding
            | HeadError::BadTransferEncoding
            | HeadError::TransferEncodingInHttp10 => 400,
        }
    }

    /// One kebab-case word for logs and metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.words().0
    }

    /// The word for logs and the sentence for people.
    const fn words(self) -> (&'static str, &'static str) {
        match self {
            HeadError::Malformed => ("malformed", "the head is not HTTP/1"),
            HeadError::LeadingEmptyLines => {
                ("leading-empty-lines", "too many empty lines before the request")
            }
            HeadError::BareLf => ("bare-lf", "a line ends in LF without CR"),
            HeadError::BareCr => ("bare-cr", "a CR is not followed by LF"),
            HeadError::ControlByte => ("control-byte", "a control byte stands in the head"),
            HeadError::ObsFold => ("obs-fold", "a field line starts with white space"),
            HeadError::SpaceBeforeColon => ("space-before-colon", "white space stands before a colon"),
            HeadError::BadFieldName => ("bad-field-name", "a field name is not a token"),
            HeadError::BadMethod => ("bad-method", "the method is not a token"),
            HeadError::ConnectOrTrace => ("connect-or-trace", "CONNECT and TRACE are not served"),
            HeadError::BadTarget => ("bad-target", "the request target is invalid"),
            HeadError::TargetTooLong => ("target-too-long", "the request target is too long"),
            HeadError::BadVersion => ("bad-version", "the HTTP version is invalid"),
            HeadError::UnsupportedVersion => ("unsupported-version", "this HTTP version is not served here"),
            HeadError::BadStatus => ("bad-status", "the status code is invalid"),
            HeadError::MissingHost => ("missing-host", "the Host field is missing"),
            HeadError::RepeatedHost => ("repeated-host", "the Host field is repeated"),
            HeadError::BadHost => ("bad-host", "the Host field is invalid"),
            HeadError::AuthorityDiffersFromHost => {
                ("authority-differs-from-host", "the target names another host than the Host field")
            }
            HeadError::RepeatedContentLength => ("repeated-content-length", "Content-Length is repeated"),
            HeadError::BadContentLength => ("bad-content-length", "Content-Length is not a number"),
            HeadError::ContentLengthWithTransferEncoding => (
                "content-length-with-transfer-encoding",
                "Content-Length and Transfer-Encoding are both present",
            ),
            HeadError::RepeatedTransferEncoding => {
                ("repeated-transfer-encoding", "Transfer-Encoding is repeated")
            }
            HeadError::BadTransferEncoding => ("bad-transfer-encoding", "Transfer-Encoding is invalid"),
            HeadError::UnknownTransferCoding => {
                ("unknown-transfer-coding", "the transfer coding is not known")
            }
            HeadError::TransferEncodingInHttp10 => {
                ("transfer-encoding-in-http10", "HTTP/1.0 has no Transfer-Encoding")
            }
            HeadError::HeadTooLarge => ("head-too-large", "the head is too large"),
            HeadError::TooManyFields => ("too-many-fields", "the head has too many fields"),
        }
    }
}

impl fmt::Display for HeadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.words().1)
    }
}

impl std::error::Error for HeadError {}

/// The rule that the framing of a body broke.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyError {
    /// A chunk size that is empty, too long, or not hexadecimal digits alone.
    BadChunkSize,
    /// A control byte in a chunk extension.
    BadChunkExtension,
    /// A chunk-size line longer than [`crate::limits::CHUNK_LINE_BYTES_MAX`].
    ChunkLineTooLong,
    /// A line of the coding that ends in LF alone.
    BareLf,
    /// A CR in a line of the coding that no LF follows.
    BareCr,
    /// Chunk data not followed by CRLF: the sender wrote another length than it sent.
    BadChunkEnd,
    /// A trailer section larger than [`crate::limits::TRAILER_BYTES_MAX`].
    TrailerTooLarge,
    /// A trailer field that would be refused in a head too.
    BadTrailer(HeadError),
    /// The stream ended before the body did.
    Truncated,
}

impl BodyError {
    /// One kebab-case word for logs and metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.words().0
    }

    /// The word for logs and the sentence for people.
    const fn words(self) -> (&'static str, &'static str) {
        match self {
            BodyError::BadChunkSize => ("bad-chunk-size", "a chunk size is invalid"),
            BodyError::BadChunkExtension => ("bad-chunk-extension", "a chunk extension holds a control byte"),
            BodyError::ChunkLineTooLong => ("chunk-line-too-long", "a chunk-size line is too long"),
            BodyError::BareLf => ("chunk-bare-lf", "a line of the chunked coding ends in LF without CR"),
            BodyError::BareCr => ("chunk-bare-cr", "a CR in the chunked coding is not followed by LF"),
            BodyError::BadChunkEnd => ("bad-chunk-end", "a chunk does not end where its size says"),
            BodyError::TrailerTooLarge => ("trailer-too-large", "the trailer section is too large"),
            BodyError::BadTrailer(_) => ("bad-trailer", "a trailer field is invalid"),
            BodyError::Truncated => ("truncated-body", "the connection ended inside a body"),
        }
    }
}

impl fmt::Display for BodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.words().1)?;
        match self {
            BodyError::BadTrailer(reason) => write!(f, ": {reason}"),
            BodyError::BadChunkSize
            | BodyError::BadChunkExtension
            | BodyError::ChunkLineTooLong
            | BodyError::BareLf
            | BodyError::BareCr
            | BodyError::BadChunkEnd
            | BodyError::TrailerTooLarge
            | BodyError::Truncated => Ok(()),
        }
    }
}

impl std::error::Error for BodyError {}

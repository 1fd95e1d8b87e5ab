//! Errors: of starting the server, and of its answers.

use std::{io, net::SocketAddr, path::PathBuf};

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use heartstream::EngineError;
use heartstream_formats::FormatError;
use serde::Serialize;
use utoipa::ToSchema;

/// The most letters of foreign text in an answer.
const MOST_LETTERS: usize = 600;

/// Why the server does not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {reason}. Choose a free port, or an address of this machine")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the operating system said.
        reason: io::Error,
    },
    /// The address can be reached from other machines, and no token protects it.
    #[error(
        "{0} can be reached from other machines, and no token was given. Write a secret of at least 16 letters to a file \
         and give it as the token file, or listen on 127.0.0.1"
    )]
    Unprotected(SocketAddr),
    /// The token is no use.
    #[error("the token must have 16 to 512 letters, digits or signs without spaces, but {0}")]
    Token(String),
    /// The library cannot be used.
    #[error("the library {} cannot be used: {reason}. Give another directory that may be written to, on a disk with room", path.display())]
    Library {
        /// Its directory.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// An option is out of range.
    #[error("{option} must be {expected}, but is {found}")]
    Option {
        /// The option.
        option: &'static str,
        /// The range that works.
        expected: &'static str,
        /// What was given.
        found: usize,
    },
    /// The engine.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// Accepting connections failed.
    #[error("the server stopped: {0}")]
    Io(#[from] io::Error),
}

/// Why a request is not answered as it hopes.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApiError {
    #[error("{0}")]
    Refused(String),
    #[error("there is no such song. GET /v1/songs lists those that there are")]
    NoSong,
    #[error("there is nothing here. GET /openapi.json says what there is")]
    NoPlace,
    #[error("{0}")]
    Conflict(String),
    #[error("the token is missing or wrong. Send it as `Authorization: Bearer TOKEN`")]
    Token,
    #[error("{0}")]
    Foreign(&'static str),
    #[error("{0}")]
    Full(String),
    #[error("the body is longer than a page of words can be. Shorten it")]
    TooLarge,
    #[error("the body must be JSON with `Content-Type: application/json`")]
    MediaType,
    #[error("no part of the file is in the range; it has {0} bytes")]
    Range(u64),
    #[error("the server failed: {0}")]
    Internal(String),
}

impl ApiError {
    fn status(&self) -> StatusCode {
        match self {
            Self::Refused(_) => StatusCode::UNPROCESSABLE_ENTITY,
            Self::NoSong | Self::NoPlace => StatusCode::NOT_FOUND,
            Self::Conflict(_) => StatusCode::CONFLICT,
            Self::Token => StatusCode::UNAUTHORIZED,
            Self::Foreign(_) => StatusCode::FORBIDDEN,
            Self::Full(_) => StatusCode::TOO_MANY_REQUESTS,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::MediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Range(_) => StatusCode::RANGE_NOT_SATISFIABLE,
            Self::Internal(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

/// The body of every answer that is an error; the shape is that of OpenAI's API, whose clients show the message.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ErrorBody {
    error: ErrorText,
}

#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ErrorText {
    /// What was expected, what was found, and what to do.
    message: String,
    /// `invalid_request_error` or `server_error`.
    r#type: &'static str,
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let status = self.status();
        if let Self::Internal(reason) = &self {
            tracing::error!("an answer failed: {reason}");
        }
        let r#type = if status.is_server_error() { "server_error" } else { "invalid_request_error" };
        let error = ErrorText { message: shown(&self.to_string()), r#type };
        let mut response = (status, Json(ErrorBody { error })).into_response();
        let headers = response.headers_mut();
        match self {
            Self::Range(bytes) => {
                if let Ok(range) = HeaderValue::try_from(format!("bytes */{bytes}")) {
                    headers.insert(header::CONTENT_RANGE, range);
                }
            }
            Self::Full(_) => drop(headers.insert(header::RETRY_AFTER, HeaderValue::from_static("10"))),
            Self::Token => drop(headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))),
            _ => (),
        }
        response
    }
}

/// Foreign text without control characters, and not too much of it.
pub(crate) fn shown(text: &str) -> String {
    text.chars()
        .map(|letter| if letter.is_control() && letter != '\n' { '\u{fffd}' } else { letter })
        .take(MOST_LETTERS)
        .collect()
}

impl From<EngineError> for ApiError {
    fn from(error: EngineError) -> Self {
        match error {
            EngineError::Model(_) | EngineError::Option { .. } => Self::Refused(error.to_string()),
            error => Self::Internal(error.to_string()),
        }
    }
}

impl From<FormatError> for ApiError {
    fn from(error: FormatError) -> Self {
        match error {
            FormatError::NotBuilt { .. } => Self::Refused(error.to_string()),
            error => Self::Internal(error.to_string()),
        }
    }
}

impl From<rusqlite::Error> for ApiError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Internal(format!("the library's index: {error}"))
    }
}

impl From<io::Error> for ApiError {
    fn from(error: io::Error) -> Self {
        Self::Internal(error.to_string())
    }
}

impl From<tokio::task::JoinError> for ApiError {
    fn from(error: tokio::task::JoinError) -> Self {
        Self::Internal(error.to_string())
    }
}

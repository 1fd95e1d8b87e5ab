//! JSON bodies of requests, with errors in the server's own words.

use axum::{
    Json,
    extract::{FromRequest, Request, rejection::JsonRejection},
};
use serde::de::DeserializeOwned;

use crate::error::{ApiError, ErrorBody};

/// The body of a request.
pub(crate) struct Body<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        match Json::from_request(request, state).await {
            Ok(Json(body)) => Ok(Self(body)),
            Err(JsonRejection::MissingJsonContentType(_)) => Err(ApiError::MediaType),
            Err(JsonRejection::BytesRejection(error)) if error.status() == 413 => Err(ApiError::TooLarge),
            Err(error) => Err(ApiError::Refused(error.body_text())),
        }
    }
}

/// Answers to a body that holds no order or one that cannot be sung, for the OpenAPI document.
#[derive(utoipa::IntoResponses)]
#[allow(dead_code)] // the document is made of the types alone
pub(crate) enum BodyRefusals {
    #[response(status = 400, description = "No JSON")]
    NoJson(ErrorBody),
    #[response(status = 413, description = "Too long")]
    TooLong(ErrorBody),
    #[response(status = 415, description = "Another media type")]
    MediaType(ErrorBody),
    #[response(status = 422, description = "Out of range, or words that the model cannot sing")]
    Unsingable(ErrorBody),
}

//! Images that this installation built or found.

use crate::{Api, ApiError, ApiResult, Code, Identity, ImageServices, wire};
use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
};

/// Lists images, newest first.
#[utoipa::path(get, path = "/api/images", operation_id = "list_images", tag = "images",
    responses((status = 200, description = "The images", body = wire::Page<wire::Image>)))]
pub(crate) async fn list(State(api): State<Api>) -> ApiResult<Json<wire::Page<wire::Image>>> {
    let items = api.store.image_list().await?.into_iter().map(Into::into).collect();
    Ok(Json(wire::Page { items, next_cursor: None }))
}

/// Shows an image with the Dockerfile that was really built.
#[utoipa::path(get, path = "/api/images/{id}", operation_id = "get_image", tag = "images",
    params(("id" = String, Path, description = "The image's ID, `sha256:...`")),
    responses((status = 200, description = "The image", body = wire::ImageDetail)))]
pub(crate) async fn show(State(api): State<Api>, Path(id): Path<String>) -> ApiResult<Json<wire::ImageDetail>> {
    let mut row = api.store.image_get(&id).await?;
    let dockerfile = std::mem::take(&mut row.dockerfile);
    Ok(Json(wire::ImageDetail { image: row.into(), dockerfile }))
}

/// Makes the base image where it is missing; answers at once with what there is or what is under way.
#[utoipa::path(post, path = "/api/images/bootstrap", operation_id = "bootstrap_image", tag = "images",
    responses((status = 202, description = "The base image, or how far it is", body = wire::Bootstrap)))]
pub(crate) async fn bootstrap(State(api): State<Api>, _: Identity) -> ApiResult<(StatusCode, Json<wire::Bootstrap>)> {
    Ok((StatusCode::ACCEPTED, Json((images(&api)?.bootstrap)(()).await?)))
}

/// Removes images that no task uses.
#[utoipa::path(post, path = "/api/images/prune", operation_id = "prune_images", tag = "images",
    responses((status = 200, description = "What was removed", body = wire::Pruned)))]
pub(crate) async fn prune(State(api): State<Api>, _: Identity) -> ApiResult<Json<wire::Pruned>> {
    Ok(Json((images(&api)?.prune)(()).await?))
}

fn images(api: &Api) -> ApiResult<&ImageServices> {
    let none = || ApiError::new(Code::UnknownRoute, "this server makes no images");
    api.services.images.as_ref().ok_or_else(none)
}

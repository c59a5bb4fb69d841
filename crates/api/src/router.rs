//! Every route in one list, with the layers around them.

use crate::{Api, ApiError, Code, ErrorEnvelope, Surface, extract, layers, routes};
use axum::{Router, extract::DefaultBodyLimit, middleware, routing};
use utoipa::{
    OpenApi,
    openapi::{
        ContentBuilder, OpenApi as Document, Ref, RefOr, ResponseBuilder,
        path::Operation,
        security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme},
    },
};
use utoipa_axum::{router::OpenApiRouter, routes};
use utoipa_swagger_ui::SwaggerUi;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "TaskForge",
        description = "Agents in sealed containers, with people deciding. Every route needs `Authorization: Bearer tf_...`, except /healthz and the sign-in exchange.",
    ),
    components(schemas(ErrorEnvelope)),
    tags(
        (name = "tasks"), (name = "requests"), (name = "policies"), (name = "images"), (name = "llm"),
        (name = "audit"), (name = "system"), (name = "access"),
    )
)]
struct Base;

fn described(surface: Surface) -> OpenApiRouter<Api> {
    let shared = gateway_routes();
    match surface {
        Surface::Gateway => shared,
        Surface::Server => shared.merge(task_routes()),
    }
}

/// Agents: their tasks, their requests, their images.
fn task_routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .merge(
            OpenApiRouter::new()
                .routes(routes!(routes::tasks::create))
                .layer(DefaultBodyLimit::max(routes::tasks::MAX_CREATE_BYTES)),
        )
        .routes(routes!(routes::tasks::list))
        .routes(routes!(routes::tasks::show))
        .routes(routes!(routes::commands::start))
        .routes(routes!(routes::commands::pause))
        .routes(routes!(routes::commands::resume))
        .routes(routes!(routes::commands::cancel))
        .routes(routes!(routes::commands::further))
        .routes(routes!(routes::messages::list, routes::messages::post))
        .routes(routes!(routes::timeline::timeline))
        .routes(routes!(routes::stream::task_events))
        .routes(routes!(routes::files::list))
        .routes(routes!(routes::files::download))
        .routes(routes!(routes::files::logs))
        .routes(routes!(routes::requests::list))
        .routes(routes!(routes::requests::show))
        .routes(routes!(routes::requests::review))
        .routes(routes!(routes::policies::list))
        .routes(routes!(routes::policies::of_task))
        .routes(routes!(routes::images::list))
        .routes(routes!(routes::images::show))
        .routes(routes!(routes::images::bootstrap))
        .routes(routes!(routes::images::prune))
}

/// What a gateway by itself has too: model calls, providers, keys, the log, and access.
fn gateway_routes() -> OpenApiRouter<Api> {
    OpenApiRouter::with_openapi(Base::openapi())
        .routes(routes!(routes::stream::all_events))
        .routes(routes!(routes::llm::list))
        .routes(routes!(routes::llm::count))
        .routes(routes!(routes::llm::show))
        .routes(routes!(routes::llm::attempts))
        .routes(routes!(routes::llm::body))
        .routes(routes!(routes::llm::export))
        .routes(routes!(routes::llm::erase))
        .routes(routes!(routes::llm::models))
        .merge(
            OpenApiRouter::new()
                .routes(routes!(routes::playground::playground))
                .layer(DefaultBodyLimit::max(routes::playground::MAX_BYTES)),
        )
        .routes(routes!(routes::providers::list, routes::providers::create))
        .routes(routes!(routes::providers::show, routes::providers::save, routes::providers::remove))
        .routes(routes!(routes::providers::test))
        .routes(routes!(routes::providers::reload))
        .routes(routes!(routes::keys::list, routes::keys::create))
        .routes(routes!(routes::keys::show, routes::keys::revoke))
        .routes(routes!(routes::audit::entries))
        .routes(routes!(routes::audit::entry))
        .routes(routes!(routes::audit::body))
        .routes(routes!(routes::audit::verify))
        .routes(routes!(routes::audit::checkpoint))
        .routes(routes!(routes::audit::files))
        .routes(routes!(routes::audit::file))
        .routes(routes!(routes::system::info))
        .routes(routes!(routes::system::health))
        .routes(routes!(routes::tokens::list, routes::tokens::create))
        .routes(routes!(routes::tokens::revoke))
        .routes(routes!(routes::sign_in::code))
        .routes(routes!(routes::sign_in::exchange))
        .routes(routes!(routes::sign_in::end))
}

/// The OpenAPI document of a whole server.
pub fn openapi() -> Document {
    openapi_of(Surface::Server)
}

/// The OpenAPI document of what is offered.
pub fn openapi_of(surface: Surface) -> Document {
    finish(described(surface).to_openapi())
}

/// The whole API as a router.
pub fn router(api: Api) -> Router {
    let (routes, document) = described(api.config.surface).split_for_parts();
    routes
        .route("/healthz", routing::get(routes::system::healthz))
        .route("/metrics", routing::get(routes::system::metrics))
        .route("/sign-in", routing::get(routes::sign_in::page))
        .merge(SwaggerUi::new("/docs").url("/api/openapi.json", finish(document)))
        .fallback(|| async { ApiError::new(Code::UnknownRoute, "there is no such route") })
        .layer(DefaultBodyLimit::max(extract::MAX_BODY_BYTES))
        .layer(middleware::from_fn_with_state(api.clone(), layers::authenticate))
        .layer(middleware::from_fn_with_state(api.clone(), layers::host))
        .layer(middleware::from_fn_with_state(api.clone(), layers::envelope))
        .with_state(api)
}

/// Adds what all operations have in common: the error envelope and who may use them.
fn finish(mut document: Document) -> Document {
    let error = ResponseBuilder::new()
        .description("An error")
        .content(
            "application/json",
            ContentBuilder::new().schema(Some(RefOr::Ref(Ref::from_schema_name("ErrorEnvelope")))).build(),
        )
        .build();
    let paths = std::mem::take(&mut document.paths.paths);
    for (path, mut item) in paths {
        for operation in operations(&mut item) {
            operation.responses.responses.entry("default".to_owned()).or_insert(RefOr::T(error.clone()));
            operation.security = Some(if layers::OPEN_PATHS.contains(&path.as_str()) {
                vec![SecurityRequirement::default()]
            } else {
                ["token", "session"].map(|name| SecurityRequirement::new(name, [""; 0])).into()
            });
        }
        document.paths.paths.insert(path.replace("{*", "{"), item);
    }
    let components = document.components.get_or_insert_default();
    let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some("A named token, `tf_...`")).build();
    components.add_security_scheme("token", SecurityScheme::Http(bearer));
    components.add_security_scheme(
        "session",
        SecurityScheme::ApiKey(ApiKey::Cookie(ApiKeyValue::new(crate::access::COOKIE))),
    );
    document
}

fn operations(item: &mut utoipa::openapi::PathItem) -> impl Iterator<Item = &mut Operation> {
    [&mut item.get, &mut item.post, &mut item.put, &mut item.delete, &mut item.patch]
        .into_iter()
        .filter_map(Option::as_mut)
}

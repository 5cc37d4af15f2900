//! Routes as data: paths with their methods, so that `Allow` and the OpenAPI document cannot forget
//! one.

use actix_web::{
    HttpResponse, Resource, ResponseError, Route, guard,
    http::{Method, header},
    web,
};

use super::problem::{Problem, ProblemCode};

/// Path of a room's WebSocket.
pub const SIGNAL_PATH: &str = "/v1/rooms/{roomId}/signal";

/// A path with its handlers.
pub struct Endpoint {
    /// With `{names}` as in OpenAPI.
    path: &'static str,
    /// By method.
    routes: Vec<(Method, Route)>,
}

impl Endpoint {
    /// Makes a path without methods.
    #[must_use]
    pub fn at(path: &'static str) -> Self {
        Self {
            path,
            routes: Vec::new(),
        }
    }

    /// Adds a method. `GET` answers `HEAD` too (RFC 9110 section 9.1).
    #[must_use]
    pub fn on(mut self, method: Method, route: Route) -> Self {
        self.routes.push((method, route));
        self
    }

    /// Its path.
    #[must_use]
    pub const fn path(&self) -> &'static str {
        self.path
    }

    /// Its methods.
    pub fn methods(&self) -> impl Iterator<Item = &Method> {
        self.routes.iter().map(|(method, _)| method)
    }

    /// Converts for actix-web. Other methods get a 405 with `Allow`.
    pub(super) fn into_resource(self) -> Resource {
        let allow = self.allow();
        let mut resource = web::resource(self.path);
        for (method, route) in self.routes {
            let is_method = guard::fn_guard(move |request| {
                let asked = &request.head().method;
                *asked == method || (method == Method::GET && *asked == Method::HEAD)
            });
            resource = resource.route(route.guard(is_method));
        }
        resource.default_service(web::to(move || {
            let allow = allow.clone();
            async move { method_not_allowed(allow) }
        }))
    }

    /// The value of `Allow`.
    fn allow(&self) -> String {
        let mut names: Vec<&str> = self.methods().map(Method::as_str).collect();
        if names.contains(&"GET") {
            names.push("HEAD");
        }
        names.join(", ")
    }
}

/// 405.
fn method_not_allowed(allow: String) -> HttpResponse {
    let mut response = Problem::new(
        ProblemCode::MethodNotAllowed,
        "this path does not know the method, see Allow",
    )
    .error_response();
    let allow = header::HeaderValue::from_str(&allow).expect("names of methods are header text");
    response.headers_mut().insert(header::ALLOW, allow);
    response
}

/// 404 for a path that no route has.
pub(super) async fn unknown_path() -> HttpResponse {
    Problem::new(ProblemCode::NotFound, "there is no such path").error_response()
}

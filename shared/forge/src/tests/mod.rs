//! Over a small GitHub on loopback that says what each test tells it to.

mod as_an_app;
mod checks;
mod fake;
mod finding;
mod pull_requests;
mod reading;
mod shapes;
mod writing;

//! Over a small GitHub on loopback that says what each test tells it to.

mod as_an_app;
mod fake;
mod pull_requests;
mod reading;
mod shapes;
mod writing;

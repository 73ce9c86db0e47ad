//! Tables and properties of plans, over a repository that is a map from path to content.

mod model;
mod properties;
mod rules;
mod scale;

//! `rq classify`

mod args;
mod labels;
mod rerank;
mod zero_shot;

use crate::Ended;
use anyhow::Result;
pub(super) use args::ClassifyArgs;

pub(super) fn run(args: &ClassifyArgs) -> Result<Ended> {
    match (&args.labels, &args.query) {
        (Some(labels), _) => zero_shot::run(args, labels),
        (None, Some(query)) => rerank::run(args, query),
        (None, None) => labels::run(args),
    }
}

//! What a Dockerfile may copy from by a name (`build.additional_contexts`). Not the context of the build
//! itself.

use std::collections::BTreeMap;
use std::path::Path;

use towpath_compose::model::{Build, Service};

use super::image::{is_remote, pulls};
use crate::container::NamedContext;
use crate::render::context::Context;

/// How an image is written.
const IMAGE: &str = "docker-image://";

/// Returns what a build has names for; complains of what cannot be given to it.
pub(super) fn contexts(
    context: &mut Context<'_>,
    name: &str,
    service: &Service,
    build: &Build,
) -> BTreeMap<String, NamedContext> {
    let mut contexts = BTreeMap::new();
    for (key, stated) in &build.additional_contexts {
        match one(context, key, stated, pulls(service, build)) {
            Ok(found) => drop(contexts.insert(key.clone(), found)),
            Err(Complaint { code, text, help }) => {
                let span =
                    context.compose(&["services", name, "build", "additional_contexts", key]);
                context.refuse(code, text, span, help);
            }
        }
    }
    contexts
}

/// Why one cannot be given to a build.
struct Complaint {
    code: &'static str,
    text: String,
    help: &'static str,
}

fn one(
    context: &Context<'_>,
    key: &str,
    stated: &str,
    pulls: bool,
) -> Result<NamedContext, Complaint> {
    if !is_stage(key) {
        return Err(Complaint {
            code: "bad-name",
            text: format!("`{key}` is no name that a stage of a Dockerfile can have"),
            help: "write it in lower case letters, digits, `-`, `_` and `.`, a letter first",
        });
    }
    if let Some(image) = stated.strip_prefix(IMAGE) {
        return Ok(NamedContext::Image(image.to_owned()));
    }
    if is_remote(stated) {
        return Err(Complaint {
            code: "not-supported",
            text: format!("the context `{stated}` is not in the source tree"),
            help: "name a directory of the project, or `docker-image://` and an image",
        });
    }
    if pulls {
        return Err(Complaint {
            code: "not-supported",
            text: format!(
                "`{key}` is made into an image of this machine, and `pull` has every image asked for at a registry"
            ),
            help: "leave `pull: true` or `pull_policy: always` out, or copy the files into the build context",
        });
    }
    let relative = context.in_tree(Path::new(stated));
    relative.map(NamedContext::Directory).ok_or_else(|| Complaint {
        code: "outside",
        text: format!("the context `{stated}` is outside of the project directory"),
        help: "move the Compose file up, or name the directory above with `--project-directory`: a release has the files of one directory",
    })
}

/// Tells whether a stage of a Dockerfile can have a name.
fn is_stage(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_lowercase())
        && name
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_.".contains(c))
}

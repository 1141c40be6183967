//! What a Dockerfile may copy from by name beside its own stages (`build.additional_contexts`): it
//! becomes stages, written before the others. Docker's own call for builds has no option for it.
//!
//! A directory is made an image first, which is there for the length of the build.

use std::collections::BTreeMap;

use bollard::Docker;
use bollard::query_parameters::RemoveImageOptionsBuilder;
use towpath_model::container::{ImageBuild, NamedContext};

use super::{Order, send};
use crate::docker::context;
use crate::docker::image::Failure;
use crate::docker::shared::Shared;

/// Makes an image of a directory.
const COPY: &str = "FROM scratch\nCOPY . /\n";

/// Has an image built whose Dockerfile has names for more than its stages.
pub(super) async fn send_with_contexts(
    shared: &Shared,
    docker: &Docker,
    order: &Order<'_>,
) -> Result<(), Failure> {
    let mut made = Vec::new();
    let sent = send_with_stages(shared, docker, order, &mut made).await;
    for image in made {
        let options = RemoveImageOptionsBuilder::default().build();
        // What stays goes with the release's other images.
        drop(docker.remove_image(&image, Some(options), None).await);
    }
    sent
}

async fn send_with_stages(
    shared: &Shared,
    docker: &Docker,
    order: &Order<'_>,
    made: &mut Vec<String>,
) -> Result<(), Failure> {
    let mut stages = String::new();
    for (name, what) in &order.recipe.contexts {
        let image = match what {
            NamedContext::Image(reference) => reference.clone(),
            NamedContext::Directory(path) => {
                let image = of_directory(shared, docker, order, (name, path)).await?;
                made.push(image.clone());
                image
            }
        };
        stages.push_str(&format!("FROM {image} AS {name}\n"));
    }
    let text = order.read(shared, |tree, recipe| {
        Ok(context::survey(tree, recipe)?.dockerfile.1)
    });
    let text = text.await?;
    let text = with_stages(&String::from_utf8_lossy(&text), &stages);
    let recipe = ImageBuild {
        dockerfile_inline: Some(text),
        contexts: BTreeMap::new(),
        ..order.recipe.clone()
    };
    let order = Order {
        recipe: &recipe,
        ..*order
    };
    send(shared, docker, &order).await
}

/// Makes an image of a directory, and returns its name.
async fn of_directory(
    shared: &Shared,
    docker: &Docker,
    order: &Order<'_>,
    (name, path): (&str, &str),
) -> Result<String, Failure> {
    let recipe = ImageBuild {
        context: path.to_owned(),
        dockerfile_inline: Some(COPY.to_owned()),
        no_cache: order.recipe.no_cache,
        ..ImageBuild::default()
    };
    let order = Order {
        recipe: &recipe,
        named: Some(name),
        ..*order
    };
    let sent = send(shared, docker, &order).await;
    sent.map_err(|failure| Failure {
        reason: format!("the context `{name}`: {}", failure.reason),
        ..failure
    })?;
    Ok(order.name())
}

/// Writes stages before the first of a Dockerfile. What comes before it, arguments and directives, has
/// to stay before.
fn with_stages(text: &str, stages: &str) -> String {
    let begins = |line: &str| {
        let mut words = line.split_whitespace();
        words
            .next()
            .is_some_and(|word| word.eq_ignore_ascii_case("FROM"))
    };
    let mut written = String::with_capacity(text.len() + stages.len());
    let mut lines = text.split_inclusive('\n').peekable();
    while let Some(line) = lines.next_if(|line| !begins(line)) {
        written.push_str(line);
    }
    written.push_str(stages);
    written.extend(lines);
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stages_are_written_before_the_first_and_after_what_is_for_all() {
        let text = "# syntax=x\nARG FROM=1\n\nfrom base AS a\nCOPY --from=b / /\nFROM a";
        let written = with_stages(text, "FROM x AS b\n");
        assert_eq!(
            written,
            "# syntax=x\nARG FROM=1\n\nFROM x AS b\nfrom base AS a\nCOPY --from=b / /\nFROM a"
        );
    }
}

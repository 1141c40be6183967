//! What talks to Git: the repository that each app has, what is in its commits, what is fetched. Not
//! what is made of a commit, which is control's, and no HTTP: pushes come in through the server.
//!
//! Git is the `git` program. It has to be there to receive pushes anyway, it reads every repository
//! that it wrote, and each call is a process of its own with a deadline, which can be killed.

mod archive;
mod authorities;
mod fetch;
mod git;
mod repositories;

pub use repositories::GitRepositories;

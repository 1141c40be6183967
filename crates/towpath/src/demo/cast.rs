//! Who plays in the story: the app, on the engine that it runs on. The story is the same for both;
//! here is what differs. Not what happens in it.

mod launches;
mod shop;

use anyhow::Result;
use towpath_load::Stream;

use super::command_line::CommandLine;
use super::docker::Docker;
use super::report::Teller;
use super::stage::{Place, Version};

pub(crate) use launches::Launches;
pub(crate) use shop::{Shop, variables as shop_variables};

/// The app of a story.
#[derive(Debug)]
pub(crate) enum Cast {
    /// The raffle, as plain processes.
    Launches(Launches),
    /// The shop, as containers.
    Shop(Shop),
}

/// How an instance comes to its end without being asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Death {
    /// It is killed.
    Kill,
    /// It is removed by hand, by force.
    Remove,
}

/// How long the app itself needs to be there, which no platform can save it.
#[derive(Debug, Clone)]
pub(crate) struct OwnStart {
    /// In words, after "a deployment over".
    pub(crate) what: &'static str,
    /// How long.
    pub(crate) took: std::time::Duration,
    /// Since when a deployment is measured that is held against it.
    pub(crate) since: Since,
    /// What the difference should be below, in seconds.
    pub(crate) goal: f64,
}

/// Since when a deployment is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Since {
    /// Since the control plane was asked for it.
    Request,
    /// Since the command was typed.
    Command,
}

/// What the database says about the time since the first release.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ledger {
    /// Orders that are in it.
    pub(crate) orders: u64,
    /// Whether it is still the one of the first release.
    pub(crate) same_database: bool,
}

impl Cast {
    /// Returns the story's title.
    pub(crate) fn title(&self) -> &'static str {
        match self {
            Self::Launches(_) => "a raffle app from its first release to its last rollback",
            Self::Shop(_) => {
                "a web shop in containers, with its database, from its first release to its last \
                 rollback"
            }
        }
    }

    /// Says in a line what there is to know before it begins, if there is something.
    pub(crate) async fn prepare(&mut self, place: &Place, teller: &Teller) -> Result<()> {
        match self {
            Self::Launches(_) => Ok(()),
            Self::Shop(shop) => shop.prepare(place, teller).await,
        }
    }

    /// Returns the files of the app's directory: their names and contents.
    pub(crate) fn files(
        &self,
        place: &Place,
        command_line: &CommandLine,
    ) -> Result<Vec<(&'static str, String)>> {
        match self {
            Self::Launches(_) => Launches::files(command_line),
            Self::Shop(shop) => shop.files(place),
        }
    }

    /// Returns the files that make a release of it.
    pub(crate) fn version(
        &self,
        place: &Place,
        version: Version<'_>,
    ) -> Vec<(&'static str, String)> {
        match self {
            Self::Launches(_) => Launches::version(place, version),
            Self::Shop(_) => Shop::version(version),
        }
    }

    /// Returns the load on production, and in words what it is.
    pub(crate) fn load(&self) -> (Vec<Stream>, &'static str) {
        match self {
            Self::Launches(_) => (Launches::streams(), "plain, keep-alive, slow, WebSocket"),
            Self::Shop(_) => (Shop::streams(), "plain, keep-alive, slow, orders, uploads"),
        }
    }

    /// Returns the streams of which nobody can take over what an instance had when it was killed,
    /// and what they are in words.
    pub(crate) fn lost_with_an_instance(&self) -> (&'static [&'static str], &'static str) {
        match self {
            Self::Launches(_) => (&[launches::WEBSOCKETS], "WebSocket sessions and messages"),
            // Whether an order was taken is not known to anybody but who was killed: it is not sent
            // a second time.
            Self::Shop(_) => (&[shop::ORDERS, shop::UPLOADS], "orders and uploads"),
        }
    }

    /// Returns the ways in which instances die in the story.
    pub(crate) fn deaths(&self) -> &'static [(Death, &'static str)] {
        match self {
            Self::Launches(_) => &[(Death::Kill, "kill -9 of an instance")],
            Self::Shop(_) => &[
                (Death::Kill, "kill -9 of an instance"),
                (Death::Remove, "docker rm -f of an instance"),
            ],
        }
    }

    /// Has an instance of web in production die.
    pub(crate) async fn kill_instance(&self, place: &Place, death: Death) -> Result<()> {
        match self {
            Self::Launches(_) => Launches::kill_instance(place),
            Self::Shop(shop) => shop.kill_instance(death).await,
        }
    }

    /// Measures how long the app itself needs.
    pub(crate) async fn own_start(&self) -> Result<OwnStart> {
        match self {
            Self::Launches(_) => Ok(Launches::own_start()),
            Self::Shop(shop) => shop.own_start().await,
        }
    }

    /// Looks into the database; `None` where the app has none of its own.
    pub(crate) async fn ledger(&self) -> Result<Option<Ledger>> {
        match self {
            Self::Launches(_) => Ok(None),
            Self::Shop(shop) => shop.ledger().await.map(Some),
        }
    }

    /// Returns what a release in the old way can be compared with: the shop, whose images are there.
    pub(crate) fn shop(&self) -> Option<&Shop> {
        match self {
            Self::Launches(_) => None,
            Self::Shop(shop) => Some(shop),
        }
    }

    /// Removes what is left when the environments are gone, and says what should have been gone.
    pub(crate) async fn clear_away(self, keep: bool) -> Result<Vec<String>> {
        match self {
            Self::Launches(_) => Ok(Vec::new()),
            Self::Shop(shop) => shop.clear_away(keep).await,
        }
    }
}

/// Chooses the cast for an engine. A Docker Engine that does not answer is found out here.
pub(crate) async fn choose(engine: super::Engine) -> Result<Cast> {
    match engine {
        super::Engine::Process => Ok(Cast::Launches(Launches)),
        super::Engine::Docker => Ok(Cast::Shop(Shop::new(Docker::find().await?))),
    }
}

//! A raffle microsite: the example app of the first story.

//! The saga `gift`: points go from one member to another, or stay where they were.

use recourse_saga::{BuildError, Commands, Definition, Outgoing, StreamName, compensatable, pivot};

use crate::member::{Command, Event, Gift};

/// What each step does, and what undoes it.
pub fn definition() -> Result<Definition, BuildError> {
    Definition::builder::<Gift>("gift", 1)
        .starts_on("member.gift-offered.v1", |event| match event {
            Event::Offered(gift) => Some(gift.clone()),
            _ => None,
        })
        .step(compensatable(
            "take",
            |gift: &Gift, _| ask(&gift.from, Command::Take(gift.clone())),
            |gift: &Gift, _| ask(&gift.from, Command::GiveBack(gift.clone())),
        ))
        .step(
            pivot("receive", |gift: &Gift, _| ask(&gift.to, Command::Receive(gift.clone())))
                .irreversible(),
        )
        .build()
}

fn ask(member: &str, command: Command) -> Commands {
    Outgoing::one(StreamName::new("member", member), &command)
}

#[cfg(test)]
mod tests {
    use recourse_saga::{Answer, explore::Walk, testing::*};

    use super::*;
    use crate::member::{MOST, Member, tests::gift};

    #[test]
    fn what_bob_cannot_receive_is_given_back_to_ann() {
        let offered = recorded("member-ann", Event::Offered(gift(4)));
        let mut talk = Talk::started(definition().unwrap(), &offered);
        assert_eq!(talk.commands(), sent("member.take", &["member-ann"]));
        assert_eq!(talk.all(&Answer::Done), sent("member.receive", &["member-bob"]));
        assert_eq!(
            talk.all(&refused("too-many-points")),
            sent("member.give-back", &["member-ann"])
        );
    }

    #[test]
    fn whatever_happens_the_points_end_on_one_side() {
        let offered = recorded("member-ann", Event::Offered(gift(4)));
        let ends = Walk::of(definition().unwrap(), offered)
            .given::<Member>("ann", [Event::Received(gift(5))])
            .given::<Member>("bob", [])
            .meanwhile::<Member>("bob", Command::Receive(gift(MOST)))
            .completed("bob has them", |seen| seen.of::<Member>("bob").points == 4)
            .completed("ann has the rest", |seen| seen.of::<Member>("ann").points == 1)
            .compensated("ann has them all", |seen| seen.of::<Member>("ann").points == 5)
            .compensated("bob has none of them", |seen| seen.of::<Member>("bob").points != 4)
            .ends();
        let expected = "compensated (timeout), compensated (too-many-points), completed";
        assert_eq!(ends.unwrap().join(", "), expected);
    }
}

//! A member and their points: what can be asked, what can have happened, and the rules.

use std::collections::BTreeMap;

use recourse_cqrs::{Aggregate, NOTHING_TO_UNDO, Refused};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Nobody has more points.
pub const MOST: u64 = 1_000;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Gift {
    pub id: Uuid,
    pub from: String,
    pub to: String,
    pub points: u64,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Command {
    #[serde(rename = "member.offer")]
    Offer(Gift),
    #[serde(rename = "member.take")]
    Take(Gift),
    #[serde(rename = "member.give-back")]
    GiveBack(Gift),
    #[serde(rename = "member.receive")]
    Receive(Gift),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Event {
    #[serde(rename = "member.gift-offered.v1")]
    Offered(Gift),
    #[serde(rename = "member.points-taken.v1")]
    Taken(Gift),
    #[serde(rename = "member.points-given-back.v1")]
    GivenBack(Gift),
    #[serde(rename = "member.points-received.v1")]
    Received(Gift),
}

/// What the events make of a member, in the stream `member-<name>`.
#[derive(Clone, Default, Serialize, Deserialize)]
pub struct Member {
    pub points: u64,
    /// Points that were taken for a gift, by its id.
    pub taken: BTreeMap<Uuid, u64>,
}

impl Aggregate for Member {
    const CATEGORY: &'static str = "member";
    type State = Self;
    type Command = Command;
    type Event = Event;
    type Refusal = Refused;

    fn decide(member: &Self, command: &Command) -> Result<Vec<Event>, Refused> {
        let no = |code, why| Err(Refused::for_good(code, why));
        Ok(vec![match command.clone() {
            Command::Offer(gift) => Event::Offered(gift),
            Command::Take(gift) if gift.points <= member.points => Event::Taken(gift),
            Command::Take(_) => return no("not-enough-points", "there are fewer"),
            Command::GiveBack(gift) if member.taken.contains_key(&gift.id) => {
                Event::GivenBack(gift)
            }
            Command::GiveBack(_) => return no(NOTHING_TO_UNDO, "none were taken"),
            Command::Receive(gift) if gift.points > MOST.saturating_sub(member.points) => {
                return no("too-many-points", "nobody has so many");
            }
            Command::Receive(gift) => Event::Received(gift),
        }])
    }

    fn evolve(mut member: Self, event: &Event) -> Self {
        match event {
            Event::Offered(_) => {}
            Event::Taken(gift) => {
                member.points -= gift.points;
                member.taken.insert(gift.id, gift.points);
            }
            Event::GivenBack(gift) => member.points += member.taken.remove(&gift.id).unwrap_or(0),
            Event::Received(gift) => member.points += gift.points,
        }
        member
    }

    fn refused(refusal: &Refused) -> Refused {
        refusal.clone()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use recourse_cqrs::testing::given;

    use super::*;

    pub(crate) fn gift(points: u64) -> Gift {
        Gift { id: Uuid::nil(), from: "ann".into(), to: "bob".into(), points }
    }

    #[test]
    fn no_more_points_are_taken_than_there_are() {
        given::<Member>([Event::Received(gift(5))])
            .when_saga(Command::Take(gift(4)))
            .then([Event::Taken(gift(4))])
            .and()
            .when_saga(Command::Take(gift(2)))
            .then_refused("not-enough-points");
    }
}

//! What must be true of an order, whatever happens to it.

use recourse_domain::{
    HoldId, order::Status as OrderStatus, payment::Operation, stock::HoldStatus,
};
use recourse_saga::{Direction, End, Status};

use crate::{
    action::name,
    returning,
    world::{SAGA, Story, Target, World, sku},
};

fn hold(line: u32) -> HoldId {
    HoldId { saga: SAGA, line }
}

fn holds(world: &World) -> [Option<HoldStatus>; 2] {
    [0, 1].map(|line| world.stock[line as usize].state().hold_status(hold(line)))
}

pub fn check_stock(world: &World) -> Result<(), String> {
    for stock in &world.stock {
        let state = stock.state();
        let held: u64 = state
            .holds()
            .map(|(_, pieces)| u64::from(pieces.get()))
            .sum();
        if state.reserved() != held || held > state.on_hand() {
            return Err("more is reserved than held or than on hand".to_owned());
        }
    }
    Ok(())
}

/// Whether an operator had something of the saga left out, or wants it to be.
fn has_skips(world: &World) -> bool {
    !world.saga.skips().is_empty()
}

pub fn check_money(world: &World) -> Result<(), String> {
    let provider = &world.provider;
    for operation in [Operation::Authorize, Operation::Capture, Operation::Void] {
        if provider.applied(operation) > 1 {
            return Err(format!("the provider did {} twice", operation.as_str()));
        }
    }
    if provider.refunds() > provider.applied(Operation::Capture) {
        return Err("more was given back than was taken".to_owned());
    }
    let captured = provider.applied(Operation::Capture) > 0;
    if captured && provider.applied(Operation::Void) > 0 {
        return Err("money was both taken and let go".to_owned());
    }
    // What an operator has left out is missing: an exception, and looked at in the end.
    if has_skips(world) {
        return Ok(());
    }
    let goods_are_there = |hold: &Option<HoldStatus>| {
        matches!(hold, Some(HoldStatus::Held(_) | HoldStatus::Committed))
    };
    if provider.holds_money() && !holds(world).iter().all(goods_are_there) {
        return Err("money is reserved for goods that are not".to_owned());
    }
    let is_out = |hold: &Option<HoldStatus>| *hold == Some(HoldStatus::Committed);
    if !provider.keeps_money() && holds(world).iter().any(is_out) {
        return Err("goods are out and not paid".to_owned());
    }
    let status = world.order.state().status();
    let stands = matches!(
        status,
        Some(OrderStatus::Confirmed | OrderStatus::Completed)
    );
    // Only an order that was confirmed can be revoked, and then its money is on its way back.
    let is_revoked = status == Some(OrderStatus::Cancelled) && is_reversed(world);
    if captured && !stands && !is_revoked {
        return Err("money was taken for an order that is not confirmed".to_owned());
    }
    let is_back = |hold: &Option<HoldStatus>| {
        matches!(hold, Some(HoldStatus::Released | HoldStatus::Restocked))
    };
    let is_undone = provider.refunds() > 0
        || provider.applied(Operation::Void) > 0
        || holds(world).iter().any(is_back);
    if stands && is_undone {
        return Err("an order that stands is undone".to_owned());
    }
    if status == Some(OrderStatus::Completed) && !(captured && holds(world).iter().all(is_out)) {
        return Err("the order is completed, not paid and delivered".to_owned());
    }
    Ok(())
}

fn is_reversed(world: &World) -> bool {
    let mut commands = world.saga.commands().iter();
    commands.any(|sent| sent.direction == Direction::Reverse && &*sent.step == "confirm-order")
}

/// What there is in truth, in the words of an undo plan.
fn left(world: &World) -> Vec<String> {
    if world.story == Story::Return {
        return returning::left(world);
    }
    let mut left = Vec::new();
    for (line, hold) in holds(world).iter().enumerate() {
        match hold {
            Some(HoldStatus::Held(_)) => left.push(format!("reserve-stock {line}")),
            Some(HoldStatus::Committed) => left.push(format!("commit-stock {line}")),
            Some(HoldStatus::Released | HoldStatus::Restocked) | None => {}
        }
    }
    if world.provider.keeps_money() {
        left.push("capture-payment".to_owned());
    } else if world.provider.holds_money() {
        left.push("authorize-payment".to_owned());
    }
    if matches!(
        world.order.state().status(),
        Some(OrderStatus::Confirmed | OrderStatus::Completed)
    ) {
        left.push("confirm-order".to_owned());
    }
    left.sort();
    left
}

/// What operators left as it is.
fn exceptions(world: &World) -> Vec<String> {
    let exceptions = world.saga.exceptions();
    let mut exceptions: Vec<String> = exceptions.map(|skip| skip.part.to_string()).collect();
    exceptions.sort();
    exceptions
}

pub fn check_attention(world: &World) -> Result<(), String> {
    if world.saga.status() != Status::NeedsAttention || !world.unread.is_empty() {
        return Ok(());
    }
    let mut plan: Vec<String> = world
        .saga
        .undo_plan()
        .iter()
        .map(ToString::to_string)
        .collect();
    plan.sort();
    let excepted = exceptions(world);
    let mut left = left(world);
    left.retain(|part| !excepted.contains(part));
    let nothing_is_open = world.saga.open_commands().next().is_none();
    if nothing_is_open && plan != left {
        return Err(format!(
            "what is left is {left:?}, its undo plan says {plan:?}"
        ));
    }
    if let Some(missing) = left.iter().find(|part| !plan.contains(part)) {
        return Err(format!("its undo plan does not name {missing}"));
    }
    if world.saga.remaining().is_empty() {
        return Err("it needs attention though nothing remains".to_owned());
    }
    let Some(flagged_at) = world.flagged_at else {
        return Ok(());
    };
    let commands = world.saga.commands();
    let is_waited_for_since = |part: &recourse_saga::Sent| {
        commands.iter().any(|sent| {
            sent.revision < flagged_at
                && (&sent.step, &sent.item, sent.direction)
                    == (&part.step, &part.item, part.direction)
        })
    };
    let waits = commands
        .iter()
        .any(|sent| (sent.is_open() || sent.resend_at.is_some()) && is_waited_for_since(sent));
    if waits || world.refused_for_good || has_skips(world) {
        Ok(())
    } else {
        Err("it still needs attention though all that was overdue is answered".to_owned())
    }
}

/// Where it stands still on its way back, something must be left that it cannot undo.
pub fn check_standstill(world: &World) -> Result<(), String> {
    let excepted = exceptions(world);
    let is_undone = left(world).iter().all(|part| excepted.contains(part));
    let has_ended = match world.story {
        Story::Order => matches!(
            world.order.state().status(),
            Some(OrderStatus::Rejected | OrderStatus::Cancelled)
        ),
        Story::Return => returning::is_rejected(world),
    };
    if world.saga.turned_back().is_some() && is_undone && has_ended {
        return Err("it needs attention though everything is undone".to_owned());
    }
    Ok(())
}

pub fn is_skipped(world: &World, step: &str, item: &str) -> bool {
    world.saga.skips().iter().any(|skip| {
        skip.counts && !skip.remains && &*skip.part.step == step && &*skip.part.item == item
    })
}

pub fn check_end(world: &World, end: End) -> Result<(), String> {
    let left = left(world);
    for part in &left {
        let (step, item) = part.split_once(' ').unwrap_or((part, ""));
        if is_skipped(world, step, item) {
            return Err(format!(
                "{part} was skipped and has its effect all the same"
            ));
        }
    }
    match world.story {
        Story::Order => check_order_end(world, end, &left)?,
        Story::Return => returning::check_end(world, end)?,
    }
    check_answers(world, end, &left)
}

fn check_order_end(world: &World, end: End, left: &[String]) -> Result<(), String> {
    let status = world.order.state().status();
    if end == End::Completed {
        // Left out with what was to take it over: nobody else lets it go.
        let held = left.iter().find(|part| {
            part.starts_with("reserve-stock") || part.starts_with("authorize-payment")
        });
        if let Some(held) = held
            && !exceptions(world).contains(held)
        {
            return Err(format!("the saga ended with {held} still held"));
        }
    }
    // An order that is told by nobody that it is completed stands as it did.
    let is_untold =
        is_skipped(world, "complete-order", "") && status == Some(OrderStatus::Confirmed);
    let is_right = match end {
        End::Completed => status == Some(OrderStatus::Completed) || is_untold,
        End::Compensated => matches!(status, Some(OrderStatus::Rejected | OrderStatus::Cancelled)),
    };
    if !is_right {
        return Err(format!("the saga ended {end:?}, the order {status:?}"));
    }
    if end == End::Completed && !is_untold {
        for (line, hold) in holds(world).iter().enumerate() {
            let part = format!("commit-stock {line}");
            let is_out = *hold == Some(HoldStatus::Committed) || exceptions(world).contains(&part);
            if is_out == world.order.state().undelivered().contains(&sku(line)) {
                return Err(format!(
                    "the order does not know what became of line {line}"
                ));
            }
        }
    }
    Ok(())
}

/// Nothing of a saga that has ended is on its way, and nothing else is left than it says.
fn check_answers(world: &World, end: End, left: &[String]) -> Result<(), String> {
    if let Some(sent) = world.saga.open_commands().next() {
        return Err(format!("the saga ended with {} open", name(world, sent.id)));
    }
    if end == End::Compensated && left != exceptions(world) {
        return Err(format!(
            "the saga ended with {left:?} left, and {:?} as exceptions",
            exceptions(world)
        ));
    }
    if world.provider.late().next().is_some() {
        return Err("the saga ended with a request under way".to_owned());
    }
    for target in Target::ALL {
        let queue = &world.queues[target.index()];
        for command in &queue.commands {
            let id = command.command.id;
            if !world.is_answered(id) && !queue.lost.contains(&id) {
                return Err(format!(
                    "the saga ended with {} unanswered",
                    name(world, id)
                ));
            }
        }
    }
    Ok(())
}

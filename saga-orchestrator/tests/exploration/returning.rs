//! What must be true of a return, whatever happens to it.

use recourse_domain::{
    HoldId,
    order::{Return, ReturnStatus},
    stock::HoldStatus,
};
use recourse_saga::{Direction, End};

use crate::{
    checks::is_skipped,
    world::{RETURN, SAGA, SENT_BACK, World, sku},
};

fn its(world: &World) -> Result<&Return, String> {
    let its = world.order.state().get_return(RETURN);
    its.ok_or_else(|| "the return is gone".to_owned())
}

fn is_back(world: &World, line: u32) -> bool {
    let hold = HoldId { saga: SAGA, line };
    let status = world.stock[line as usize].state().hold_status(hold);
    status == Some(HoldStatus::Restocked)
}

fn was_out(world: &World, line: u32) -> bool {
    let undelivered = world.order.state().undelivered();
    !undelivered.contains(&sku(line as usize))
}

pub fn check(world: &World) -> Result<(), String> {
    let refunds = world.provider.refunds();
    if refunds > 1 {
        return Err("the provider did refund twice".to_owned());
    }
    for (line, pieces) in (0..).zip(SENT_BACK) {
        let back = is_back(world, line);
        let was_out = was_out(world, line);
        // Two of three were sold.
        let left = if was_out { 1 } else { 3 };
        let on_hand = world.stock[line as usize].state().on_hand();
        if on_hand != left + if back { u64::from(pieces) } else { 0 } {
            return Err("goods came back more than once".to_owned());
        }
        if back && !was_out {
            return Err("goods came back that never went out".to_owned());
        }
        if back && refunds == 0 {
            return Err("goods are back and not paid for".to_owned());
        }
    }
    // What an operator has left out is missing, or goes on without what was taken back.
    if !world.saga.skips().is_empty() {
        return Ok(());
    }
    let status = its(world)?.status;
    let all_is_back = (0..2).all(|line| is_back(world, line) == was_out(world, line));
    match status {
        ReturnStatus::Closed if refunds == 0 || !all_is_back => {
            Err("the return is closed, not refunded and back".to_owned())
        }
        ReturnStatus::Requested | ReturnStatus::Withdrawn | ReturnStatus::Rejected
            if refunds > 0 =>
        {
            let status = status.as_str();
            Err(format!(
                "money was given back for a return that is {status}"
            ))
        }
        _ => Ok(()),
    }
}

/// What there is in truth that could be taken back, in the words of an undo plan: a refund never.
pub fn left(world: &World) -> Vec<String> {
    let is_past_return = world.saga.turned_back().is_none()
        && world
            .saga
            .commands()
            .iter()
            .any(|sent| sent.direction == Direction::Do && &*sent.step == "refund-payment");
    let is_accepted = its(world).is_ok_and(|its| its.status == ReturnStatus::Accepted);
    if is_accepted && !is_past_return {
        vec!["accept-return".to_owned()]
    } else {
        Vec::new()
    }
}

pub fn is_rejected(world: &World) -> bool {
    its(world).is_ok_and(|its| its.status == ReturnStatus::Rejected)
}

pub fn check_end(world: &World, end: End) -> Result<(), String> {
    let status = its(world)?.status;
    let is_right = match end {
        // An order that is told by nobody that its return is closed keeps it as it was.
        End::Completed => status == ReturnStatus::Closed || is_skipped(world, "close-return", ""),
        End::Compensated => status == ReturnStatus::Rejected,
    };
    if is_right {
        return Ok(());
    }
    let status = status.as_str();
    Err(format!("the saga ended {end:?}, the return {status}"))
}

//! What a violation leads to: an order is proposed where its rule asks for one, withdrawn where the
//! violation is over before, and carried out and signed off by people.

use headframe_schemas::stream::orders::Order;
use headframe_schemas::stream::violations::Violation;
use headframe_schemas::violation::{Actor, OrderStep, Refusal, Status};

use crate::violation::lifecycle::RULES;

/// What a rule asks for.
#[derive(Debug, Clone, PartialEq)]
pub struct OrderPolicy {
    /// notice, cap or stop.
    pub action: String,
    /// The most power of a cap, thousands of watts.
    pub cap_kw: Option<f64>,
}

/// The id of the order of a violation that was opened; a violation that is reopened has another.
pub fn order_id(violation: &Violation) -> Option<String> {
    let opened_s = violation.opened_at?.div_euclid(1_000_000);
    Some(format!("{}-{opened_s}", violation.violation))
}

/// The order that a violation leads to, where there is none yet.
pub fn propose(
    before: Option<&Order>,
    violation: &Violation,
    policy: &OrderPolicy,
) -> Option<Order> {
    let is_open = Status::parse(&violation.status).is_some_and(Status::is_open);
    if before.is_some() || !is_open {
        return None;
    }
    Some(Order {
        event_time: violation.opened_at?,
        order: order_id(violation)?,
        version: 1,
        violation: violation.violation.clone(),
        rule: violation.rule.clone()?,
        subject_kind: violation.subject_kind.clone(),
        subject: violation.subject.clone(),
        action: policy.action.clone(),
        cap_kw: policy.cap_kw,
        status: "proposed".to_owned(),
        actor: RULES.to_owned(),
        role: None,
        reason: violation.reason.clone(),
    })
}

/// Withdraws an order whose violation is over, before anybody carried it out.
pub fn withdraw(before: &Order, violation: &Violation) -> Option<Order> {
    let is_open = Status::parse(&violation.status).is_some_and(Status::is_open);
    let is_current = order_id(violation).as_ref() == Some(&before.order);
    if before.status != "proposed" || is_open && is_current {
        return None;
    }
    Some(Order {
        event_time: violation.event_time,
        version: before.version + 1,
        status: "withdrawn".to_owned(),
        actor: RULES.to_owned(),
        role: None,
        reason: Some(format!("the violation is {}", violation.status)),
        ..before.clone()
    })
}

/// The next row by what a person did.
pub fn decide(
    before: &Order,
    step: OrderStep,
    seen: i64,
    actor: &Actor,
    now_us: i64,
) -> Result<Order, Refusal> {
    if before.version != seen {
        return Err(Refusal::Changed {
            what: "order",
            id: before.order.clone(),
            seen,
            found: before.version,
        });
    }
    if before.status != step.allowed_from() {
        return Err(Refusal::NotAllowed {
            what: "order",
            id: before.order.clone(),
            status: before.status.clone(),
            action: step.name(),
            allowed: step.allowed_from().to_owned(),
        });
    }
    Ok(Order {
        event_time: now_us,
        version: before.version + 1,
        status: step.target().to_owned(),
        actor: actor.name.clone(),
        role: actor.role.clone(),
        reason: Some(actor.reason.clone()),
        ..before.clone()
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn violation(status: &str, opened_at: i64) -> Violation {
        Violation {
            violation: "v1".to_owned(),
            rule: Some("r".to_owned()),
            status: status.to_owned(),
            opened_at: Some(opened_at),
            ..Violation::default()
        }
    }

    #[test]
    fn an_order_is_proposed_once_an_opening_and_signed_off_by_a_person() {
        let policy = OrderPolicy {
            action: "cap".to_owned(),
            cap_kw: Some(5.0),
        };
        let open = violation("open", 7_000_000);
        let order = propose(None, &open, &policy).unwrap();
        assert_eq!((order.order.as_str(), order.cap_kw), ("v1-7", Some(5.0)));
        assert_eq!(propose(Some(&order), &open, &policy), None);
        assert_eq!(propose(None, &violation("waived", 1), &policy), None);
        assert_eq!(withdraw(&order, &open), None);
        assert_eq!(
            withdraw(&order, &violation("resolved", 7_000_000))
                .unwrap()
                .status,
            "withdrawn"
        );
        // The violation was over and is open again: that is another order.
        assert_eq!(
            withdraw(&order, &violation("open", 9_000_000))
                .unwrap()
                .status,
            "withdrawn"
        );
        let ann = Actor {
            name: "ann".to_owned(),
            role: None,
            reason: "capped by hand".to_owned(),
        };
        assert!(decide(&order, OrderStep::SignOff, 1, &ann, 9).is_err());
        assert!(decide(&order, OrderStep::CarryOut, 2, &ann, 9).is_err());
        let done = decide(&order, OrderStep::CarryOut, 1, &ann, 9).unwrap();
        assert_eq!(withdraw(&done, &violation("resolved", 7_000_000)), None);
        let signed = decide(&done, OrderStep::SignOff, 2, &ann, 10).unwrap();
        assert_eq!((signed.status.as_str(), signed.version), ("signed_off", 3));
    }
}

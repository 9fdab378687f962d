//! The codes of Alink replies.
//!
//! See: `wire/alibaba.md` 4.4.

use gnomon_model::{Fault, FaultKind, RejectKind};

use crate::shown;

/// Success; also when parts of a message did not fit (`wire/alibaba.md` 5.5).
pub(super) const SUCCESS: i64 = 200;

/// Code of a message that was refused as a whole.
pub(super) fn of_reject(kind: RejectKind) -> i64 {
    match kind {
        RejectKind::NotJson => 6207,
        RejectKind::Malformed => 460,
        RejectKind::TooLarge => 6106,
        RejectKind::UnknownTopic => 6203,
        RejectKind::UnknownProduct => 5005,
        // Of whole messages only an event is refused so: the model has no such method.
        RejectKind::Invalid => 6300,
        RejectKind::Forbidden => 403,
        RejectKind::BadTime => 6326,
        RejectKind::UnknownCall | RejectKind::Conflict | RejectKind::NoAnswer => 400,
        // Only applications are refused so.
        RejectKind::UnknownAlert | RejectKind::AlertCleared => 400,
        RejectKind::Offline => 9201,
        RejectKind::Internal => 500,
    }
}

/// Code of a part that does not fit the thing model.
pub(super) fn of_fault(kind: FaultKind) -> i64 {
    match kind {
        // 6320 is "property unknown", but 6304 is what the platform forwards beside the text that
        // its devices read (`wire/alibaba.md` 12, `checkFailedData`).
        FaultKind::UnknownProperty | FaultKind::UnknownMember => 6304,
        FaultKind::UnknownEvent | FaultKind::UnknownService => 6300,
        FaultKind::MissingInput => 6302,
        FaultKind::ReadOnly => 403,
        FaultKind::Int => 6306,
        FaultKind::Float => 6307,
        FaultKind::Double => 6322,
        FaultKind::Bool => 6308,
        FaultKind::Enum => 6309,
        FaultKind::Text => 6310,
        FaultKind::Date => 6311,
        FaultKind::Struct => 6312,
        FaultKind::Array => 6328,
        FaultKind::ArrayItem => 6324,
        FaultKind::Time => 6326,
    }
}

/// What a device is told about one part of its message. `params not exist` is what the original
/// platform was seen to send (`wire/alibaba.md` 4.2); where its words are not known, ours follow
/// its code, which is what its documentation lists.
pub(super) fn text(fault: &Fault) -> String {
    let identifier = shown(&fault.identifier);
    match of_fault(fault.kind) {
        6304 => format!("tsl parse: params not exist -> {identifier}"),
        6300 => format!("tsl parse: method not exist -> {identifier}"),
        code => format!("tsl parse: {code} {} -> {identifier}", fault.reason),
    }
}

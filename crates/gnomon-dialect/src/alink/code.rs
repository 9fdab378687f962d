//! The codes of Alink replies.
//!
//! See: `wire/alibaba.md` 4.4.

use gnomon_model::{Fault, FaultKind, RejectKind};

/// Success; also when parts of a message did not fit (`wire/alibaba.md` 5.5).
pub(super) const SUCCESS: i64 = 200;

/// Code of a message that was refused as a whole.
pub(super) fn of_reject(kind: RejectKind) -> i64 {
    match kind {
        RejectKind::NotJson => 6207,
        RejectKind::Malformed | RejectKind::UnknownCall => 460,
        RejectKind::TooLarge => 6106,
        RejectKind::UnknownTopic => 6203,
        RejectKind::UnknownProduct => 6250,
        RejectKind::Invalid => 6304,
        RejectKind::Forbidden => 403,
        RejectKind::BadTime => 6326,
        RejectKind::Conflict | RejectKind::NoAnswer => 400,
        RejectKind::Offline => 9201,
        RejectKind::Internal => 500,
    }
}

fn of_fault(kind: FaultKind) -> i64 {
    match kind {
        FaultKind::UnknownProperty => 6320,
        FaultKind::UnknownEvent | FaultKind::UnknownService => 6300,
        FaultKind::UnknownMember => 6304,
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

/// What a device is told about one part of its message. The words before the arrow are those that
/// the original platform was seen to send (`wire/alibaba.md` 4.2).
pub(super) fn text(fault: &Fault) -> String {
    match fault.kind {
        FaultKind::UnknownProperty | FaultKind::UnknownEvent | FaultKind::UnknownMember => {
            format!("tsl parse: params not exist -> {}", fault.identifier)
        }
        kind => format!("{}: {}", of_fault(kind), fault.reason),
    }
}

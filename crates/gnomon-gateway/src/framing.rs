//! Where packets begin and end, and what must be known of one before the protocol reads it.
//!
//! The protocol library takes the flags of the fixed header and of CONNECT as they come, and knows
//! two protocol levels only: both are judged here. See: MQTT 5, 2.1.3 and 3.1.2.

/// Bytes of a CONNECT's body up to its flags, in the longest form (`MQIsdp` of MQTT 3.1).
const OPENING_BYTES: usize = 10;

/// Why a packet is not even read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Breach {
    /// Flags of the fixed header that the packet type does not have (MQTT 5, 2.1.3).
    HeaderFlags,
    /// Reserved or contradicting flags of a CONNECT of this protocol level (MQTT 5, 3.1.2.3).
    ConnectFlags { level: u8 },
    /// A protocol level that is not served, below 4 or beyond 5 (MQTT 5, 3.1.2.2).
    Level { level: u8 },
}

/// The place in the stream of packets.
#[derive(Debug, Default)]
pub(crate) struct Framing {
    /// Fixed header of the packet that is being read, at most 5 bytes.
    header: Vec<u8>,
    /// Bytes of its body still to come.
    left: usize,
    /// Begin of the body of the first packet.
    opening: Vec<u8>,
    opened: bool,
}

impl Framing {
    /// Splits off the front of `bytes` what belongs to the current packet.
    pub(crate) fn split<'a>(&mut self, bytes: &mut &'a [u8]) -> Result<&'a [u8], Breach> {
        let in_header = self.header(bytes)?;
        let in_body = self.left.min(bytes.len() - in_header);
        self.left -= in_body;
        let (packet, rest) = bytes.split_at(in_header + in_body);
        *bytes = rest;
        if !self.opened {
            self.open(&packet[in_header..])?;
        }
        Ok(packet)
    }

    /// Reads as much of the fixed header as there is, if the last packet is complete.
    fn header(&mut self, bytes: &[u8]) -> Result<usize, Breach> {
        let mut count = 0;
        while self.left == 0 {
            let Some(byte) = bytes.get(count) else { break };
            if self.header.is_empty() && !flags_fit(*byte) {
                return Err(Breach::HeaderFlags);
            }
            self.header.push(*byte);
            count += 1;
            // A fifth byte ends it in any case; the protocol refuses a longer one.
            if self.header.len() > 1 && byte & 0x80 == 0 || self.header.len() == 5 {
                let digits = self.header.drain(..).skip(1).enumerate();
                self.left = digits.map(|(at, one)| usize::from(one & 0x7f) << (7 * at)).sum();
                break;
            }
        }
        Ok(count)
    }

    fn open(&mut self, body: &[u8]) -> Result<(), Breach> {
        let count = body.len().min(OPENING_BYTES - self.opening.len());
        self.opening.extend_from_slice(&body[..count]);
        if self.opening.is_empty() || self.left > 0 && self.opening.len() < OPENING_BYTES {
            return Ok(());
        }
        self.opened = true;
        judge(&self.opening)
    }
}

/// Whether the flags in the first byte of a packet are those of its type. PUBLISH has flags of its
/// own; types that do not exist are left to the protocol.
fn flags_fit(first: u8) -> bool {
    match first >> 4 {
        3 => true,
        6 | 8 | 10 => first & 0xf == 2,
        _ => first & 0xf == 0,
    }
}

/// Judges protocol level and flags. What names another protocol is left to the protocol.
fn judge(opening: &[u8]) -> Result<(), Breach> {
    let name_end = match opening {
        [0, 4, b'M', b'Q', b'T', b'T', ..] => 6,
        [0, 6, b'M', b'Q', b'I', b's', b'd', b'p', ..] => 8,
        _ => return Ok(()),
    };
    let Some(&level) = opening.get(name_end) else { return Ok(()) };
    if name_end == 8 || level != 4 && level != 5 {
        return Err(Breach::Level { level });
    }
    let Some(flags) = opening.get(name_end + 1) else { return Ok(()) };
    let (will, will_qos, will_retain) = (flags & 4 != 0, flags >> 3 & 3, flags & 0x20 != 0);
    let sound = flags & 1 == 0 && will_qos < 3 && (will || will_qos == 0 && !will_retain);
    if sound { Ok(()) } else { Err(Breach::ConnectFlags { level }) }
}

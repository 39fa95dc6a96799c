//! The state transition table of RFC 9293 section 3.3.2, figure 5: one place, one table.

/// A connection's state, as RFC 9293 section 3.3.2 names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum State {
    /// No connection state at all.
    Closed,
    /// Waiting for a connection request from any peer (a listener; a [`Connection`](crate::Connection) is never in it).
    Listen,
    /// A SYN was sent, a matching one is awaited.
    SynSent,
    /// A SYN was both received and sent, its acknowledgment is awaited.
    SynReceived,
    /// Data flows both ways.
    Established,
    /// Our FIN was sent, neither its acknowledgment nor the peer's FIN has come.
    FinWait1,
    /// Our FIN is acknowledged, the peer's is awaited.
    FinWait2,
    /// The peer's FIN has come, the application has not closed yet.
    CloseWait,
    /// Both FINs crossed; the acknowledgment of ours is awaited.
    Closing,
    /// The peer's FIN came first, ours is sent; its acknowledgment is awaited.
    LastAck,
    /// Both directions are closed; old segments are given 2MSL to die.
    TimeWait,
}

/// What moves a connection from state to state: the calls and segments on the arrows of figure 5.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Input {
    /// Passive OPEN.
    PassiveOpen,
    /// Active OPEN, which SEND on a listener is as well; a SYN is sent.
    ActiveOpen,
    /// A SYN without acknowledgment of ours arrived.
    Syn,
    /// Our SYN is acknowledged (in SYN-SENT: by a segment that carries the peer's SYN).
    AckOfSyn,
    /// The application closed (or shut down writing).
    Close,
    /// The peer's FIN arrived in order.
    Fin,
    /// Our FIN is acknowledged.
    AckOfFin,
    /// An acceptable RST arrived.
    Reset,
    /// The same in SYN-RECEIVED, if that was reached by a passive OPEN: what is left is the listener (note 1).
    ResetAfterPassiveOpen,
    /// ABORT, the user timeout, or a RST of ours (RFC 9293 sections 3.10.5 and 3.10.8).
    Abort,
    /// 2MSL have passed.
    TimeWaitOver,
}

impl Input {
    /// Every input.
    pub const ALL: [Self; 11] = [
        Self::PassiveOpen,
        Self::ActiveOpen,
        Self::Syn,
        Self::AckOfSyn,
        Self::Close,
        Self::Fin,
        Self::AckOfFin,
        Self::TimeWaitOver,
        Self::Reset,
        Self::ResetAfterPassiveOpen,
        Self::Abort,
    ];

    /// What figure 5 writes at the arrow.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::PassiveOpen => "passive OPEN",
            Self::ActiveOpen => "active OPEN",
            Self::Syn => "rcv SYN",
            Self::AckOfSyn => "rcv ACK of SYN",
            Self::Close => "CLOSE",
            Self::Fin => "rcv FIN",
            Self::AckOfFin => "rcv ACK of FIN",
            Self::TimeWaitOver => "2MSL over",
            Self::Reset => "rcv RST",
            Self::ResetAfterPassiveOpen => "rcv RST, passive",
            Self::Abort => "ABORT",
        }
    }
}

impl State {
    /// Every state, in RFC 9293's order.
    pub const ALL: [Self; 11] = [
        Self::Closed,
        Self::Listen,
        Self::SynSent,
        Self::SynReceived,
        Self::Established,
        Self::FinWait1,
        Self::FinWait2,
        Self::CloseWait,
        Self::Closing,
        Self::LastAck,
        Self::TimeWait,
    ];

    /// The state after `input`, or `None` where figure 5 has no such arrow.
    #[must_use]
    pub const fn next(self, input: Input) -> Option<Self> {
        use State::{
            CloseWait, Closed, Closing, Established, FinWait1, FinWait2, LastAck, Listen, SynReceived, SynSent,
            TimeWait,
        };
        Some(match (self, input) {
            (Closed, Input::PassiveOpen) => Listen,
            (Closed | Listen, Input::ActiveOpen) => SynSent,
            (Listen | SynSent, Input::Syn) => SynReceived,
            (SynSent | SynReceived, Input::AckOfSyn) => Established,
            (Listen | SynSent, Input::Close) => Closed,
            (SynReceived | Established, Input::Close) => FinWait1,
            // In SYN-RECEIVED too, says 3.10.7.4: but the ACK before it has made that ESTABLISHED.
            (Established, Input::Fin) => CloseWait,
            (FinWait1, Input::AckOfFin) => FinWait2,
            (FinWait1, Input::Fin) => Closing,
            (FinWait2, Input::Fin) | (Closing, Input::AckOfFin) => TimeWait,
            (CloseWait, Input::Close) => LastAck,
            (LastAck, Input::AckOfFin) | (TimeWait, Input::TimeWaitOver) => Closed,
            (SynReceived, Input::ResetAfterPassiveOpen) => Listen,
            // TIME-WAIT is a record of the stack's: no reset ends it (RFC 1337), and nobody has it in hand to abort it.
            (Closed | TimeWait, Input::Reset | Input::Abort) | (Listen, Input::Reset) => return None,
            (_, Input::Reset | Input::Abort) => Closed,
            _ => return None,
        })
    }

    /// Both sides know each other's sequence numbers: ESTABLISHED and later (RFC 9293 section 3.5.3).
    #[must_use]
    pub const fn is_synchronized(self) -> bool {
        !matches!(self, Self::Closed | Self::Listen | Self::SynSent | Self::SynReceived)
    }

    /// The application may still hand over data to send.
    #[must_use]
    pub const fn may_send(self) -> bool {
        matches!(self, Self::SynSent | Self::SynReceived | Self::Established | Self::CloseWait)
    }

    /// The peer has not closed its direction: data may still arrive.
    #[must_use]
    pub const fn may_receive(self) -> bool {
        matches!(self, Self::SynReceived | Self::Established | Self::FinWait1 | Self::FinWait2)
    }

    /// Our FIN is sent or waiting to be.
    #[must_use]
    pub const fn has_closed(self) -> bool {
        matches!(self, Self::FinWait1 | Self::FinWait2 | Self::Closing | Self::LastAck | Self::TimeWait)
    }

    /// The name `fourwave ss` prints: RFC 9293's.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Closed => "CLOSED",
            Self::Listen => "LISTEN",
            Self::SynSent => "SYN-SENT",
            Self::SynReceived => "SYN-RECEIVED",
            Self::Established => "ESTABLISHED",
            Self::FinWait1 => "FIN-WAIT-1",
            Self::FinWait2 => "FIN-WAIT-2",
            Self::CloseWait => "CLOSE-WAIT",
            Self::Closing => "CLOSING",
            Self::LastAck => "LAST-ACK",
            Self::TimeWait => "TIME-WAIT",
        }
    }
}

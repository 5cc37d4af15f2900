//! The actors over real sockets, with a mirror that obeys the test.

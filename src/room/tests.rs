//! Rules, table style.

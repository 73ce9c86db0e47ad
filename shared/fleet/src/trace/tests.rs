use super::*;
use crate::contract::sample;

fn context(text: &str) -> TraceParent {
    TraceParent::parse(text).unwrap()
}

#[test]
fn what_a_message_carries_is_read_as_a_remote_context_and_written_again() {
    for (carried, sampled) in [
        ("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", true),
        ("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00", false),
    ] {
        let carried = context(carried);
        let read = remote(&carried);
        assert!(read.is_valid() && read.is_remote());
        assert_eq!(read.is_sampled(), sampled);
        assert_eq!(written(&read), Some(carried));
    }
}

#[test]
fn flags_of_a_later_version_are_not_passed_on() {
    let later = context("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-03");
    let read = remote(&later);
    assert_eq!(
        written(&read),
        Some(context("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"))
    );
}

#[test]
fn an_empty_context_is_carried_by_no_message() {
    assert_eq!(written(&SpanContext::empty_context()), None);
    assert_eq!(current(), None);
    assert_eq!(of(&Span::none()), None);
}

#[test]
fn where_nothing_traces_messages_keep_what_they_carry() {
    let mut messages = [
        sample::delivery(1, "a"),
        sample::step(1, "b"),
        sample::outcome(1, "c"),
    ];
    let before = messages.clone();
    stamp(&mut messages);
    publishing("test", &mut messages).confirmed();
    assert_eq!(messages, before);
}

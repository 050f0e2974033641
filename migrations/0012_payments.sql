-- Payments of orders and refunds of money: the pairs of event type and version of 0010, and six
-- more.
CREATE OR REPLACE FUNCTION known_order_event_types() RETURNS text[] LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT ARRAY[
        'OrderPlaced 1.0', 'OrderPaid 1.0', 'OrderCancelled 1.0', 'OrderExpired 1.0', 'OrderFulfilled 1.0',
        'PaymentStarted 1.0', 'PaymentSucceeded 1.0', 'PaymentFailed 1.0', 'PaymentArrivedLate 1.0',
        'RefundRequested 1.0', 'RefundSettled 1.0'
    ]
$$;

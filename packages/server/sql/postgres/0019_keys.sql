-- Rotations of the signing key (design §5): the note of each, where its record stands in heads/0, and the last head of
-- heads/0 that the old key has signed, under which the record is proven for ever. Nothing here is believed: notes and
-- head are signed, and the record stands in the log. A row is there before anything is signed by the new key alone.

CREATE TABLE evident.key_rotations (
  number   int PRIMARY KEY CHECK (number > 0),
  position bigint NOT NULL CHECK (position >= 0),
  note     bytea NOT NULL CHECK (length(note) BETWEEN 1 AND 45000),
  head     bytea NOT NULL CHECK (length(head) BETWEEN 1 AND 1024)
);

-- Takes the next rotation; the same again changes nothing. Owner of all rows: the sealer.
CREATE FUNCTION evident.put_key_rotation(p_number int, p_position bigint, p_note bytea, p_head bytea) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  LOCK TABLE evident.key_rotations IN SHARE ROW EXCLUSIVE MODE;
  IF EXISTS (SELECT FROM evident.key_rotations k WHERE k.number = p_number AND k.position = p_position
              AND k.note = p_note AND k.head = p_head) THEN
    RETURN;
  END IF;
  IF p_number <> (SELECT coalesce(max(k.number), 0) + 1 FROM evident.key_rotations k) THEN
    RAISE EXCEPTION 'key rotation % is not the next, or another than the one that is stored', p_number;
  END IF;
  INSERT INTO evident.key_rotations (number, position, note, head) VALUES (p_number, p_position, p_note, p_head);
END $$;

REVOKE ALL ON FUNCTION evident.put_key_rotation(int, bigint, bytea, bytea) FROM PUBLIC;
GRANT SELECT ON evident.key_rotations TO evident_server;
GRANT EXECUTE ON FUNCTION evident.put_key_rotation(int, bigint, bytea, bytea) TO evident_server;

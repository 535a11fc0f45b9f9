-- When the file system last noted a change of the source. 0: not known, and not compared.

ALTER TABLE ingestions ADD COLUMN fingerprint_changed_ns INTEGER NOT NULL DEFAULT 0;

-- Whose ingestions these are and whom they call, for the limits on live ones. What was
-- submitted before has neither and is not counted.

ALTER TABLE ingestions ADD COLUMN caller TEXT NOT NULL DEFAULT '';

ALTER TABLE ingestions ADD COLUMN callback_origin TEXT NOT NULL DEFAULT '';

CREATE INDEX ingestions_live_by_caller ON ingestions (caller)
    WHERE state IN ('QUEUED', 'RUNNING', 'WAITING', 'COMPLETING');

CREATE INDEX ingestions_live_by_origin ON ingestions (callback_origin)
    WHERE state IN ('QUEUED', 'RUNNING', 'WAITING', 'COMPLETING');

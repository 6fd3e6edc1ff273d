-- Three organisations that bank here, and their users: customers 1 to 3, a clerk and an admin in each. The token of
-- customer 1 of acme is acme-1, that of its clerk acme-clerk.
INSERT INTO tokens (token, user_id, organisation, role)
SELECT organisation || '-' || who, 'usr_' || organisation || '_' || who, organisation,
       CASE who WHEN 'clerk' THEN 'clerk' WHEN 'admin' THEN 'admin' ELSE 'customer' END
  FROM unnest(ARRAY['acme', 'globex', 'initech']) organisation, unnest(ARRAY['1', '2', '3', 'clerk', 'admin']) who
ON CONFLICT DO NOTHING;

INSERT INTO plans (organisation, name, monthly_fee, revision)
SELECT organisation, 'basic', 0, 0 FROM unnest(ARRAY['acme', 'globex', 'initech']) organisation
ON CONFLICT DO NOTHING;

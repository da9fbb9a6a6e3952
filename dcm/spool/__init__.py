"""The durable queue behind ``dcm forward``: what was acknowledged is kept until every destination has it."""

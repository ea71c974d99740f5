"""The review page's server: slides, uploads, one worker that asks the model, the command log, sign-in.

`settings` says where and how much; `store` keeps rows and `pictures` keeps images; `intake` and `worker` turn uploads
into cells; `reading` applies commands by `hemoscope.review`; `routes` is the API; `app` puts them together.
"""

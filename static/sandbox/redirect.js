// GitLab leaves its authorize page by script, not by a redirect status; the link is the way on without JavaScript.
window.location = document.querySelector("[data-redirect]").href;
